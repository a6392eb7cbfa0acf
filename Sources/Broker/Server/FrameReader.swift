import Bytes
import KafkaProtocol
import Platform

/// Cuts a stream into Kafka frames: a 4-byte length, then that many bytes.
///
/// Small frames are copied out of the read buffer, so that a small batch kept in the tail cache
/// does not keep a whole buffer alive; a large frame is read straight into a block of its own size.
final class FrameReader {
    private static let bufferBytes = 32 << 10

    private let limit: Int
    private let accounting: Accounting?
    private var buffer: ByteStorage?
    private var start = 0
    private var end = 0

    /// Where large frames are counted, and on whose loop they are read.
    struct Accounting {
        let budget: MemoryBudget
        let loop: EventLoop
    }

    init(limit: Int, countedBy accounting: Accounting? = nil) {
        self.limit = limit
        self.accounting = accounting
    }

    /// The next frame without its length; `nil` once the peer has closed at a frame's end.
    func next(from socket: Socket) async throws -> ByteSlice? {
        while end - start < 4 {
            guard try await fill(from: socket) else {
                guard start == end else { throw FrameProblem.cutShort }
                return nil
            }
        }
        guard let buffer else { preconditionFailure("bytes without a buffer") }
        let prefix = buffer.slice(start..<end)
        let length = try FrameLength.check(prefix, limit: limit)
        if end - start >= 4 + length {
            defer { consume(4 + length) }
            return prefix[4..<4 + length].copied()
        }
        start += 4
        return try await large(length, from: socket)
    }

    /// Reads a frame of which the buffer holds only the beginning.
    private func large(_ length: Int, from socket: Socket) async throws -> ByteSlice {
        guard let buffer else { preconditionFailure("bytes without a buffer") }
        let arrival = ArrivalPool.Arrival(length: length)
        let pool = accounting?.budget.pool(for: length)
        var hurry: Hurry?
        defer {
            hurry?.end()
            pool?.end(arrival)
        }
        // Untouched pages cost nothing, so a peer that announces much and sends little costs little.
        let frame = ByteStorage(capacity: length)
        var filled = end - start
        frame.start.copyMemory(from: buffer.start + start, byteCount: filled)
        consume(filled)
        var arrived = filled
        while filled < length {
            let share = await pool?.received(arrived, of: arrival) ?? length
            if let pool, let accounting, arrival.isPrivileged && hurry == nil {
                hurry = Hurry(arrival, pool, socket, accounting.loop)
            }
            let room = UnsafeMutableRawBufferPointer(
                start: frame.start + filled,
                count: min(share, length - filled)
            )
            do {
                arrived = try await socket.read(into: room)
            } catch {
                if hurry?.isOver == true { throw SlowRequest() }
                throw error
            }
            guard arrived > 0 else { throw FrameProblem.cutShort }
            filled += arrived
        }
        return frame.slice(0..<length)
    }

    /// Reads more into the buffer; false when the peer has closed.
    private func fill(from socket: Socket) async throws -> Bool {
        let buffer = buffer ?? ByteStorage(capacity: Self.bufferBytes)
        self.buffer = buffer
        if start > 0 {
            buffer.start.copyMemory(from: buffer.start + start, byteCount: end - start)
            end -= start
            start = 0
        }
        let room = UnsafeMutableRawBufferPointer(
            start: buffer.start + end,
            count: buffer.capacity - end
        )
        let n = try await socket.read(into: room)
        end += n
        return n > 0
    }

    private func consume(_ n: Int) {
        start += n
        if start == end {
            start = 0
            end = 0
        }
    }
}

/// Closes the connection of a request that others wait for and that does not get on.
private final class Hurry {
    private static let nanoseconds = Int64.seconds(2)

    private let arrival: ArrivalPool.Arrival
    private let pool: ArrivalPool
    private let socket: Socket
    private let loop: EventLoop
    private var timer: LoopTimer?
    private var lastSeen: Int
    private(set) var isOver = false

    init(
        _ arrival: ArrivalPool.Arrival,
        _ pool: ArrivalPool,
        _ socket: Socket,
        _ loop: EventLoop
    ) {
        self.arrival = arrival
        self.pool = pool
        self.socket = socket
        self.loop = loop
        lastSeen = arrival.bytes
        arm()
    }

    private func arm() {
        timer = loop.schedule(after: Self.nanoseconds) { [weak self] in self?.look() }
    }

    private func look() {
        // What a client that is alive sends in the time is far more.
        let hasStalled = arrival.bytes - lastSeen < 64 << 10
        lastSeen = arrival.bytes
        guard hasStalled && pool.isWaitedFor(arrival) else {
            arm()
            return
        }
        isOver = true
        socket.close()
    }

    func end() { timer?.cancel() }
}
