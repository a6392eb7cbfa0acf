internal import Bytes
internal import Platform

/// One end of a simulated connection: what arrived, and what is on its way here.
final class ConnectionEnd {
    private enum Piece {
        case bytes([UInt8])
        /// The other side has closed.
        case end
    }

    let life: MachineLife
    let peer: SocketAddress
    private let network: SimulatedNetwork
    weak var other: ConnectionEnd?
    /// On its way here, by rising time.
    private var flight: [(time: Int64, piece: Piece)] = []
    private var lastArrival: Int64 = 0
    private var arrived: [UInt8] = []
    private var firstUnread = 0
    /// Bytes here or on their way here.
    private var pending = 0
    private var hasEnded = false
    private(set) var hasFailed = false
    private(set) var isClosed = false
    private var reader: UnsafeContinuation<Void, Never>?
    private var writer: UnsafeContinuation<Void, Never>?

    init(_ network: SimulatedNetwork, life: MachineLife, peer: SocketAddress) {
        self.network = network
        self.life = life
        self.peer = peer
    }

    var isOver: Bool { isClosed || hasFailed || !life.isOn }
    var isReadable: Bool { firstUnread < arrived.count || hasEnded || isOver }
    var hasRoom: Bool { pending < SimulatedNetwork.windowBytes || isOver }

    // MARK: On the way

    /// Sends bytes here, in pieces that arrive one after the other.
    func send(_ bytes: UnsafeRawBufferPointer) {
        pending += bytes.count
        var start = 0
        while start < bytes.count {
            var generator = network.simulation.generator
            let limit = min(bytes.count - start, network.maxPieceBytes)
            let count = generator.chance(3, in: 4) ? limit : 1 + generator.below(limit)
            network.simulation.generator = generator
            schedule(.bytes(Array(bytes[start..<start + count])))
            start += count
        }
    }

    func sendEnd() { schedule(.end) }

    private func schedule(_ piece: Piece) {
        let simulation = network.simulation
        let latency = network.drawLatency(from: other?.life.host ?? "", to: life.host)
        lastArrival = max(lastArrival, simulation.clock.now + latency)
        flight.append((lastArrival, piece))
        simulation.after(lastArrival - simulation.clock.now) { [weak self] in self?.deliver() }
    }

    /// Takes in what is due, unless the network is cut.
    func deliver() {
        guard let other, !network.isCut(from: other.life.host, to: life.host) else { return }
        let now = network.simulation.clock.now
        var count = 0
        while count < flight.count, flight[count].time <= now {
            switch flight[count].piece {
            case .bytes(let bytes): arrived += bytes
            case .end: hasEnded = true
            }
            count += 1
        }
        guard count > 0 else { return }
        flight.removeFirst(count)
        if isReadable { wakeReader() }
    }

    /// The first byte that has arrived and nobody has taken.
    var firstByte: UInt8? { firstUnread < arrived.count ? arrived[firstUnread] : nil }

    /// Takes bytes that have arrived.
    func take(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(buffer.count, arrived.count - firstUnread)
        guard count > 0 else { return 0 }
        arrived.withUnsafeBytes {
            buffer.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: $0[firstUnread..<firstUnread + count])
            )
        }
        firstUnread += count
        pending -= count
        if firstUnread == arrived.count {
            arrived.removeAll(keepingCapacity: true)
            firstUnread = 0
        }
        if hasRoom { other?.wakeWriter() }
        return count
    }

    // MARK: Ending

    /// The connection breaks; what was on its way is lost.
    func fail() {
        hasFailed = true
        flight = []
        wakeReader()
        wakeWriter()
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        other?.sendEnd()
        other?.wakeWriter()
        wakeReader()
        wakeWriter()
        network.forget(self)
    }

    // MARK: Waiting

    // What is waited for may come between the look and the wait, when they are a hop apart.

    func waitToRead() async {
        precondition(reader == nil, "two readers of one socket")
        await withUnsafeContinuation { if isReadable { $0.resume() } else { reader = $0 } }
    }

    func waitToWrite() async {
        precondition(writer == nil, "two writers of one socket")
        await withUnsafeContinuation {
            if other?.hasRoom != false || isOver { $0.resume() } else { writer = $0 }
        }
    }

    private func wakeReader() {
        guard let reader, life.isOn else { return }
        self.reader = nil
        reader.resume()
    }

    func wakeWriter() {
        guard let writer, life.isOn else { return }
        self.writer = nil
        writer.resume()
    }
}

/// A socket of a simulated machine.
final class SimulatedSocket: Socket, @unchecked Sendable {
    // Unchecked: the simulation runs on one thread.
    private let end: ConnectionEnd
    private let loop: SimulatedEventLoop
    private var isDetached = false

    init(_ end: ConnectionEnd, on loop: SimulatedEventLoop) {
        self.end = end
        self.loop = loop
        super.init()
    }

    deinit { if !isDetached { end.close() } }

    override var peer: String { "\(end.peer)" }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        precondition(loop.isCurrent, "a read outside the socket's loop")
        while true {
            if end.isOver || isDetached { throw .closed }
            let count = end.take(into: buffer)
            if count > 0 { return count }
            if end.isReadable { return 0 }
            await end.waitToRead()
        }
    }

    override func peek() async throws(NetworkError) -> UInt8? {
        precondition(loop.isCurrent, "a read outside the socket's loop")
        while true {
            if end.isOver || isDetached { throw .closed }
            if let byte = end.firstByte { return byte }
            if end.isReadable { return nil }
            await end.waitToRead()
        }
    }

    override func detach() -> AcceptedConnection {
        precondition(loop.isCurrent, "a socket given away outside its loop")
        precondition(!isDetached, "a socket given away twice")
        isDetached = true
        return AcceptedConnection(descriptor: -1, endpoint: end)
    }

    override func write(_ rope: ByteRope) async throws(NetworkError) {
        precondition(loop.isCurrent, "a write outside the socket's loop")
        for piece in rope.pieces {
            switch piece {
            case .bytes(let slice): try await write(slice)
            case .file(let region):
                guard let file = region.file as? File else {
                    preconditionFailure("a file piece that is no File")
                }
                try await write(Self.read(region, of: file))
            }
        }
    }

    private static func read(
        _ region: ByteRope.FileRegion,
        of file: File
    ) throws(NetworkError) -> ByteSlice {
        let storage = ByteStorage(capacity: region.count)
        let buffer = UnsafeMutableRawBufferPointer(start: storage.start, count: region.count)
        guard let count = try? file.read(into: buffer, at: region.offset), count == region.count
        else { throw .closed }
        return storage.slice(0..<count)
    }

    private func write(_ slice: ByteSlice) async throws(NetworkError) {
        guard let other = end.other, !end.isOver, !isDetached else { throw .closed }
        while !other.hasRoom {
            await end.waitToWrite()
            if end.isOver { throw .closed }
        }
        if end.isOver { throw .closed }
        slice.withUnsafeBytes { other.send($0) }
    }

    override func writeNow(_ bytes: ByteSlice) -> Int {
        precondition(loop.isCurrent, "a write outside the socket's loop")
        guard let other = end.other, !end.isOver, !isDetached, other.hasRoom else { return 0 }
        bytes.withUnsafeBytes { other.send($0) }
        return bytes.count
    }

    override func close() { if !isDetached { end.close() } }
}
