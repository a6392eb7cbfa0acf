import Bytes
import FuzzDriver
import KafkaMessages
import KafkaProtocol
import Platform

@testable import Broker

/// The bytes of a connection on their way through the frame reader and the router.
enum ClientStream {
    private static let limit = 1 << 20

    private static let loop = StillLoop(index: 0, clock: StillClock())
    private static let client = ClientConnection(
        peer: "127.0.0.1:1",
        loop: loop,
        log: Logger("fuzz"),
        limiter: LogLimiter(every: 1, clock: loop.clock)
    )
    private static let router = RequestRouter(
        handlers: RequestType.all.map(\.handler),
        budget: MemoryBudget(limit: 1),
        metrics: MetricsRegistry()
    )

    static func check(_ bytes: ByteSlice, pieces seed: UInt8) {
        let expected = Cut(bytes, limit: limit)
        nonisolated(unsafe) var isDone = false
        let socket = BytesAsSocket(bytes, seed: seed)
        // Runs to its end before the next line, as nothing in it waits.
        Task.immediate {
            let reader = FrameReader(limit: limit)
            var count = 0
            do {
                while let frame = try await reader.next(from: socket) {
                    require(
                        count < expected.frames.count && frame == expected.frames[count],
                        "frame \(count) is not what was sent"
                    )
                    count += 1
                    let answers = Answers()
                    let response = PendingResponse(
                        requestBytes: frame.count,
                        arrived: 0,
                        owner: answers
                    )
                    do {
                        try router.begin(frame, from: client, response)
                        require(answers.count == 1, "\(answers.count) answers to a request")
                    } catch {
                        require(answers.count == 0, "an answer to what was not begun")
                    }
                }
                require(expected.problem == nil, "\(expected.problem.debugDescription) passed")
            } catch {
                require(
                    error as? FrameProblem == expected.problem,
                    "\(error) instead of \(expected.problem.debugDescription)"
                )
            }
            require(count == expected.frames.count, "\(count) of \(expected.frames.count) frames")
            isDone = true
        }
        require(isDone, "a request waits")
    }
}

private final class Answers: ResponseOwner, @unchecked Sendable {
    // Unchecked: there is one thread.
    private(set) var count = 0

    func ended(_ response: PendingResponse) { count += 1 }
}

/// The frames of a stream by the definition alone.
private struct Cut {
    var frames: [ByteSlice] = []
    /// What ends the stream other than a close at a frame's end.
    var problem: FrameProblem?

    init(_ bytes: ByteSlice, limit: Int) {
        var rest = bytes
        while !rest.isEmpty {
            guard rest.count >= 4 else {
                problem = .cutShort
                return
            }
            do throws(FrameProblem) {
                let length = try FrameLength.check(rest, limit: limit)
                guard rest.count >= 4 + length else { throw .cutShort }
                frames.append(rest[4..<4 + length])
                rest = rest.dropFirst(4 + length)
            } catch {
                problem = error
                return
            }
        }
    }
}

/// A stream that arrives in pieces of any size.
final class BytesAsSocket: Socket, @unchecked Sendable {
    // Unchecked: there is one thread.
    private var rest: ByteSlice
    private var generator: SeededGenerator
    private let wholeReads: Bool

    init(_ bytes: ByteSlice, seed: UInt8) {
        rest = bytes
        generator = SeededGenerator(seed: UInt64(seed))
        wholeReads = seed == 0
    }

    /// As small as large in their order of magnitude.
    private static func draw(_ generator: inout SeededGenerator) -> Int {
        1 + generator.below(1 << generator.below(14))
    }

    static func firstRead(seed: UInt8) -> Int {
        var generator = SeededGenerator(seed: UInt64(seed))
        return draw(&generator)
    }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        require(buffer.count > 0, "a read into no room")
        let most = wholeReads ? buffer.count : Self.draw(&generator)
        let piece = rest.prefix(min(most, buffer.count))
        piece.withUnsafeBytes { buffer.copyMemory(from: $0) }
        rest = rest.dropFirst(piece.count)
        return piece.count
    }
}

private struct StillClock: Clock {
    var monotonicNanoseconds: Int64 { 0 }
    var wallMilliseconds: Int64 { 0 }
}

/// A loop that nothing is ever handed to.
private final class StillLoop: EventLoop, @unchecked Sendable {
    override var isCurrent: Bool { true }
}
