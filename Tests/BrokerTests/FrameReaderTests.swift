import Bytes
import KafkaProtocol
import Platform
import Testing

@testable import Broker

/// A stream that comes in the pieces it was given, and then ends.
private final class PiecedSocket: Socket, @unchecked Sendable {
    // Unchecked: a test runs on one thread.
    private var pieces: [[UInt8]]
    private(set) var reads = 0

    init(_ pieces: [[UInt8]]) { self.pieces = pieces.filter { !$0.isEmpty } }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        reads += 1
        guard let first = pieces.first else { return 0 }
        let count = min(buffer.count, first.count)
        buffer.copyBytes(from: first[..<count])
        pieces[0].removeFirst(count)
        if pieces[0].isEmpty { pieces.removeFirst() }
        return count
    }
}

@Suite struct FrameReaderTests {
    private static let limit = 1 << 20

    private func frame(_ count: Int) -> [UInt8] {
        var bytes = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: UInt32(count) >> $0) }
        bytes += [UInt8](unsafeUninitializedCapacity: count) { rest, filled in
            for index in 0..<count { rest[index] = UInt8(truncatingIfNeeded: index * 7 + count) }
            filled = count
        }
        return bytes
    }

    /// The frames of a stream, and what ended it.
    private func read(
        _ pieces: [[UInt8]],
        limit: Int = limit
    ) async -> (frames: [[UInt8]], problem: FrameProblem?) {
        let reader = FrameReader(limit: limit)
        let socket = PiecedSocket(pieces)
        var frames: [[UInt8]] = []
        do {
            while let frame = try await reader.next(from: socket) { frames.append(frame.array) }
            return (frames, nil)
        } catch {
            return (frames, error as? FrameProblem)
        }
    }

    private static let lengths = [8, 9, 100, 32_764, 32_765, 32_768, 32_769, 100_000, 8, 1 << 20]

    @Test(arguments: [1, 2, 3, 5, 7, 4_096, 32_768, 1 << 22])
    func `frames come out whole, however the stream is cut`(_ piece: Int) async {
        // A byte at a time takes a read each: the small frames are enough for that.
        let lengths = piece < 8 ? [8, 9, 100, 4_000, 8] : Self.lengths
        let sent = lengths.map { frame($0) }
        let stream = Array(sent.joined())
        let pieces = stride(from: 0, to: stream.count, by: piece).map {
            Array(stream[$0..<min($0 + piece, stream.count)])
        }
        let (frames, problem) = await read(pieces)
        #expect(problem == nil)
        #expect(frames == sent.map { Array($0.dropFirst(4)) })
    }

    @Test func `an empty stream has no frames`() async {
        let (frames, problem) = await read([])
        #expect(frames.isEmpty && problem == nil)
    }

    @Test func `a stream that ends within a frame is cut short`() async {
        let whole = frame(40_000)
        for count in [1, 3, 4, 5, 100, 39_999, 40_003] {
            let (frames, problem) = await read([frame(8), Array(whole[..<count])])
            #expect(frames.count == 1 && problem == .cutShort)
        }
    }

    @Test(
        arguments: [
            ([0, 0, 0, 0], FrameProblem.tooShort(0)), ([0, 0, 0, 7], .tooShort(7)),
            ([0xff, 0xff, 0xff, 0xff], .tooShort(-1)), ([0x80, 0, 0, 0], .tooShort(.min)),
            ([0x7f, 0xff, 0xff, 0xff], .tooLong(.max, limit: limit)),
            ([0, 0x10, 0, 1], .tooLong((1 << 20) + 1, limit: limit)),
            (Array("GET / HTTP/1.1\r\n".utf8), .http), (Array("POST /".utf8), .http),
            (Array("HEAD /".utf8), .http), (Array("PUT /".utf8), .http),
            ([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], .tls), ([0x16, 3, 3, 0], .tls),
        ] as [([UInt8], FrameProblem)]
    )
    func `what is no frame is told for what it is`(
        _ bytes: [UInt8],
        _ problem: FrameProblem
    ) async {
        let found = await read([frame(8), bytes])
        #expect(found.frames.count == 1 && found.problem == problem)
        let bytewise = await read(bytes.map { [$0] })
        #expect(bytewise.problem == problem)
    }

    @Test func `the limit itself is allowed`() async {
        let (frames, problem) = await read([frame(1_000)], limit: 1_000)
        #expect(frames.count == 1 && problem == nil)
        let over = await read([frame(1_001)], limit: 1_000)
        #expect(over.problem == .tooLong(1_001, limit: 1_000))
    }

    @Test func `small frames that came together take one read, and no part of each other`()
        async throws
    {
        let reader = FrameReader(limit: Self.limit)
        let socket = PiecedSocket([(0..<100).flatMap { _ in frame(50) }])
        var owners: [ObjectIdentifier] = []
        var frames: [ByteSlice] = []
        for _ in 0..<100 {
            let next = try #require(try await reader.next(from: socket))
            frames.append(next)
            owners.append(ObjectIdentifier(try #require(next.owner)))
        }
        #expect(socket.reads == 1)
        #expect(Set(owners).count == 100)
    }
}
