import Bytes
import Platform

/// Files in memory that a power cut, an error or a full disk can befall.
///
/// What was written is durable only after `sync`, a name only after `syncDirectory`. A power cut
/// keeps any subset of the sectors and of the names that were not durable yet.
final class FaultyFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    static let sector = 512

    enum Operation: Equatable {
        case open
        case write
        case sync
        case truncate
        case allocate
        case rename
        case remove
        case syncDirectory
    }

    private enum NameChange {
        case link(String, Node)
        case unlink(String)
    }

    /// Changes to names that one `syncDirectory` makes durable; a rename is one.
    private var unsyncedNames: [[NameChange]] = []
    private var names: [String: Node] = [:]
    private var durableNames: [String: Node] = [:]
    private(set) var operations = 0
    private(set) var syncs = 0
    private(set) var reads = 0
    /// The power fails in the middle of this operation, counted from 1.
    var cutAt = Int.max
    private(set) var isDown = false
    /// Bytes all files together may have.
    var capacity = Int.max
    var failure: (Operation, _ path: String) -> FileError.Reason? = { _, _ in nil }

    var usedBytes: Int { names.values.reduce(0) { $0 + $1.bytes.count } }

    /// Counts a change; throws when the power fails or a fault is planted.
    ///
    /// - Returns: whether the power fails right after the operation has begun.
    fileprivate func begin(_ operation: Operation, _ path: String) throws(FileError) -> Bool {
        guard !isDown else { throw FileError(.powerCut, operation: "\(operation)", path: path) }
        operations += 1
        if let reason = failure(operation, path) {
            throw FileError(reason, operation: "\(operation)", path: path)
        }
        if operations >= cutAt { isDown = true }
        return isDown
    }

    fileprivate func end(_ wasCut: Bool, _ operation: Operation, _ path: String) throws(FileError) {
        if wasCut { throw FileError(.powerCut, operation: "\(operation)", path: path) }
    }

    fileprivate func checkRoom(_ extra: Int, _ path: String) throws(FileError) {
        guard extra <= 0 || usedBytes + extra <= capacity else {
            throw FileError(.noSpace, operation: "write", path: path)
        }
    }

    fileprivate func counted(sync: Bool) { if sync { syncs += 1 } else { reads += 1 } }

    // MARK: After a power cut

    /// The machine comes back with what was durable and some of what was not.
    func restart(_ generator: inout SeededGenerator) {
        let keepsNothing = generator.chance(1, in: 3)
        for change in unsyncedNames where !keepsNothing && generator.chance(1, in: 2) {
            for step in change {
                switch step {
                case .link(let path, let node): durableNames[path] = node
                case .unlink(let path): durableNames[path] = nil
                }
            }
        }
        unsyncedNames = []
        names = durableNames
        for path in names.keys.sorted() {
            names[path]?.losePower(&generator, keepsNothing: keepsNothing)
        }
        comeBack()
    }

    /// The process ends, the machine does not.
    func comeBack() {
        isDown = false
        cutAt = .max
        operations = 0
    }

    /// A machine with the same files, all durable.
    func duplicate() -> FaultyFileSystem {
        let copy = FaultyFileSystem()
        for (path, node) in names { copy.names[path] = Node(node.bytes) }
        copy.durableNames = copy.names
        return copy
    }

    // MARK: Looking and damaging

    var paths: [String] { names.keys.sorted() }

    func contents(_ path: String) -> [UInt8] { names[path]?.bytes ?? [] }

    func change(_ path: String, _ body: (inout [UInt8]) -> Void) {
        guard let node = names[path] else { return }
        body(&node.bytes)
        node.durable = node.bytes
    }

    // MARK: FileSystem

    override func open(_ path: String, _ mode: Mode, direct: Bool) throws(FileError) -> File {
        guard !isDown else { throw FileError(.powerCut, operation: "open", path: path) }
        if let node = names[path], mode != .replace {
            return FaultyFile(path: path, node: node, of: self)
        }
        guard mode == .create || mode == .replace else {
            throw FileError(.notFound, operation: "open", path: path)
        }
        let wasCut = try begin(.open, path)
        let node = Node([])
        names[path] = node
        unsyncedNames.append([.link(path, node)])
        try end(wasCut, .open, path)
        return FaultyFile(path: path, node: node, of: self)
    }

    override func list(_ directory: String) throws(FileError) -> [String] {
        let prefix = directory + "/"
        return names.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
            .sorted()
    }

    override func exists(_ path: String) -> Bool { names[path] != nil }

    override func createDirectory(_ path: String) throws(FileError) {}

    override func remove(_ path: String) throws(FileError) {
        guard names[path] != nil else {
            throw FileError(.notFound, operation: "remove", path: path)
        }
        let wasCut = try begin(.remove, path)
        names[path] = nil
        unsyncedNames.append([.unlink(path)])
        try end(wasCut, .remove, path)
    }

    override func rename(_ from: String, to: String) throws(FileError) {
        guard let node = names[from] else {
            throw FileError(.notFound, operation: "rename", path: from)
        }
        let wasCut = try begin(.rename, from)
        names[from] = nil
        names[to] = node
        unsyncedNames.append([.unlink(from), .link(to, node)])
        try end(wasCut, .rename, from)
    }

    override func syncDirectory(_ path: String) throws(FileError) {
        let wasCut = try begin(.syncDirectory, path)
        if !wasCut {
            durableNames = names
            unsyncedNames = []
        }
        try end(wasCut, .syncDirectory, path)
    }

    override func availableBytes(_ path: String) throws(FileError) -> Int {
        max(0, capacity - usedBytes)
    }
}

/// The bytes of a file, and those of them that are durable.
private final class Node {
    var bytes: [UInt8]
    var durable: [UInt8]
    var unsynced: [(offset: Int, bytes: [UInt8])] = []

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        durable = bytes
    }

    func write(_ source: UnsafeRawBufferPointer, at offset: Int) {
        Self.put(source, at: offset, into: &bytes)
        unsynced.append((offset, Array(source)))
    }

    func sync() {
        for write in unsynced {
            write.bytes.withUnsafeBytes { Self.put($0, at: write.offset, into: &durable) }
        }
        if durable.count > bytes.count { durable.removeLast(durable.count - bytes.count) }
        unsynced = []
    }

    func losePower(_ generator: inout SeededGenerator, keepsNothing: Bool) {
        for write in unsynced where !keepsNothing {
            let sector = FaultyFileSystem.sector
            for start in stride(from: 0, to: write.bytes.count, by: sector)
            where generator.chance(1, in: 2) {
                write.bytes.withUnsafeBytes { all in
                    let part = all[start..<min(start + sector, all.count)]
                    Self.put(
                        UnsafeRawBufferPointer(rebasing: part),
                        at: write.offset + start,
                        into: &durable
                    )
                }
            }
        }
        unsynced = []
        bytes = durable
    }

    private static func put(
        _ source: UnsafeRawBufferPointer,
        at offset: Int,
        into bytes: inout [UInt8]
    ) {
        if bytes.count < offset + source.count {
            bytes += [UInt8](repeating: 0, count: offset + source.count - bytes.count)
        }
        bytes.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[offset..<offset + source.count])
                .copyMemory(from: source)
        }
    }
}

private final class FaultyFile: File, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private let node: Node
    private unowned let system: FaultyFileSystem

    init(path: String, node: Node, of system: FaultyFileSystem) {
        self.node = node
        self.system = system
        super.init(path: path)
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(FileError) -> Int {
        guard !system.isDown else { throw FileError(.powerCut, operation: "read", path: path) }
        system.counted(sync: false)
        let count = max(0, min(buffer.count, node.bytes.count - offset))
        guard count > 0 else { return 0 }
        node.bytes.withUnsafeBytes {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + count]))
        }
        return count
    }

    override func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        let wasCut = try system.begin(.write, path)
        try system.checkRoom(offset + bytes.count - node.bytes.count, path)
        node.write(bytes, at: offset)
        try system.end(wasCut, .write, path)
    }

    override func sync() throws(FileError) {
        system.counted(sync: true)
        let wasCut = try system.begin(.sync, path)
        if !wasCut { node.sync() }
        try system.end(wasCut, .sync, path)
    }

    override func size() throws(FileError) -> Int { node.bytes.count }

    override func truncate(to size: Int) throws(FileError) {
        let wasCut = try system.begin(.truncate, path)
        if size < node.bytes.count {
            node.bytes.removeLast(node.bytes.count - size)
        } else {
            node.bytes += [UInt8](repeating: 0, count: size - node.bytes.count)
        }
        try system.end(wasCut, .truncate, path)
    }

    override func allocate(_ length: Int, at offset: Int) throws(FileError) {
        let wasCut = try system.begin(.allocate, path)
        let extra = offset + length - node.bytes.count
        try system.checkRoom(extra, path)
        if extra > 0 { node.bytes += [UInt8](repeating: 0, count: extra) }
        try system.end(wasCut, .allocate, path)
    }
}
