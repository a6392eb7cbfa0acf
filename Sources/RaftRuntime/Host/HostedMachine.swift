import Bytes
import Platform
import Raft

/// A state machine in memory, whose state the host keeps in images on the disk.
///
/// An image is written before the log it replaces is dropped, and before a snapshot counts as
/// taken over; the log goes on from the latest one.
final class HostedMachine<Machine: StateMachine>: StateMachine, @unchecked Sendable {
    // Unchecked: confined to the loop of its group.
    typealias Completion = (Result<LogIndex, RaftError>) -> Void

    let machine: Machine
    private let group: UInt64
    private let files: HostFiles
    private let worker: Worker
    private let loop: EventLoop
    weak var replica: PartitionReplica?
    private var isWriting = false
    private var isInstalling = false
    /// Why what is installed is not there yet.
    private var lackOfRoom: FileError?
    private var waiting: [Completion] = []

    init(_ machine: Machine, group: UInt64, files: HostFiles, worker: Worker, loop: EventLoop) {
        self.machine = machine
        self.group = group
        self.files = files
        self.worker = worker
        self.loop = loop
    }

    // MARK: The machine's own

    var lastApplied: LogIndex { machine.lastApplied }

    func apply(_ entry: RaftEntry) -> ByteSlice { machine.apply(entry) }

    func snapshot(lastIndex: LogIndex, lastTerm: Term) throws -> ByteSlice {
        try machine.snapshot(lastIndex: lastIndex, lastTerm: lastTerm)
    }

    func restore(_ snapshot: ByteSlice, lastIndex: LogIndex, lastTerm: Term) throws {
        try machine.restore(snapshot, lastIndex: lastIndex, lastTerm: lastTerm)
    }

    // MARK: Compaction

    /// Makes what is applied durable, then drops the log up to there; `completion` gets where the
    /// log starts after.
    func compact(_ completion: Completion? = nil) {
        guard let replica, !replica.isStopped else {
            completion?(.failure(.stopped))
            return
        }
        if let lackOfRoom {
            completion?(.failure(.snapshotFailed("\(lackOfRoom)")))
            return
        }
        if let completion { waiting.append(completion) }
        // While a snapshot is taken over, an image of what it replaces must not be written over it.
        guard !isWriting && !isInstalling else { return }
        let index = machine.lastApplied
        guard index > replica.storage.base.index else {
            finish(.success(replica.storage.base.index))
            return
        }
        let image: GroupImage
        do {
            let term = try replica.storage.term(at: index)
            image = GroupImage(
                metadata: SnapshotMetadata(
                    index: index,
                    term: term,
                    membership: replica.membership(at: index)
                ),
                content: try machine.snapshot(lastIndex: index, lastTerm: term)
            )
        } catch {
            finish(.failure(.snapshotFailed("\(error)")))
            return
        }
        isWriting = true
        write(image) { [self] result in
            isWriting = false
            switch result {
            case .success:
                replica.truncatePrefix(through: index)
                replica.manager.reportRelief()
                finish(.success(index))
            case .failure(let error): finish(.failure(.snapshotFailed("\(error)")))
            }
        }
    }

    private func finish(_ result: Result<LogIndex, RaftError>) {
        let all = waiting
        waiting = []
        for completion in all { completion(result) }
    }

    /// Comes back to the loop once the image is durable.
    private func write(
        _ image: GroupImage,
        _ completion: @escaping (Result<Void, FileError>) -> Void
    ) {
        let done = LoopConfined(completion)
        worker.execute { [files, group, loop] in
            let result: Result<Void, FileError>
            do throws(FileError) {
                try files.keep(image, of: group)
                result = .success(())
            } catch {
                result = .failure(error)
            }
            loop.execute { done.value(result) }
        }
    }

    // MARK: Taking a snapshot over

    func makeSnapshotSink(_ metadata: SnapshotMetadata) throws -> any SnapshotSink {
        HostedSink(metadata) { [self] content, completion in
            install(GroupImage(metadata: metadata, content: content), completion)
        }
    }

    private func install(
        _ image: GroupImage,
        _ completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        isInstalling = true
        write(image) { [self] result in
            lackOfRoom = nil
            if case .failure(let error) = result, error.reason == .noSpace {
                // It is tried again; no image of what was before is written meanwhile.
                lackOfRoom = error
                finish(.failure(.snapshotFailed("\(error)")))
                return completion(.failure(error))
            }
            isInstalling = false
            completion(
                Result {
                    try result.get()
                    try image.bringBack(machine)
                }
            )
            finish(.success(image.metadata.index))
        }
    }
}

/// Gathers a snapshot in memory until it is whole.
private final class HostedSink: SnapshotSink {
    typealias Completion = @Sendable (Result<Void, any Error>) -> Void

    private var content: [UInt8] = []
    private let take: (ByteSlice, @escaping Completion) -> Void

    init(
        _ metadata: SnapshotMetadata,
        _ take: @escaping (ByteSlice, @escaping Completion) -> Void
    ) {
        self.take = take
    }

    var received: UInt64 { UInt64(content.count) }

    func write(_ bytes: ByteSlice, isLast: Bool, _ completion: @escaping Completion) {
        bytes.withUnsafeBytes { content += $0 }
        completion(.success(()))
    }

    func install(_ completion: @escaping Completion) {
        take(ByteSlice(content), completion)
    }

    func discard() { content = [] }
}

/// What travels through other threads and is touched on its loop only.
struct LoopConfined<Value>: @unchecked Sendable {
    // Unchecked: whoever unwraps it does so on the loop it belongs to.
    let value: Value

    init(_ value: Value) { self.value = value }
}
