internal import Platform

/// The network between simulated machines: connections in memory with latency, bytes that arrive in
/// pieces, and faults.
package final class SimulatedNetwork {
    private struct Door: Hashable {
        let host: String
        let port: UInt16
    }

    /// The way from one host to another.
    private struct Link: Hashable {
        let from: String
        let to: String
    }

    /// Bytes on their way or unread, after which a writer waits.
    static let windowBytes = 256 << 10
    private static let firstPort: UInt16 = 40_000
    private static let connectTimeout = Int64.seconds(2)
    private static let retransmissionTimeout = Int64.milliseconds(200)
    private static let longestRetransmission = Int64.seconds(5)

    unowned let simulation: Simulation
    /// The least time a piece takes.
    package var latency = Int64.microseconds(30)
    /// What it may take beyond that.
    package var jitter = Int64.microseconds(200)
    /// The largest piece that arrives at once.
    package var maxPieceBytes = 32 << 10
    private var listeners: [Door: SimulatedListener] = [:]
    private var cut: Set<Link> = []
    /// What each piece takes longer on a clogged way.
    private var clogs: [Link: Int64] = [:]
    /// Of how many pieces one is lost on a way that loses some.
    private var losses: [Link: Int] = [:]
    /// Open connections in the order they were made.
    private var connections: [Connection] = []
    private var nextPort = SimulatedNetwork.firstPort

    private struct Connection {
        let client: ConnectionEnd
        let server: ConnectionEnd
    }

    init(_ simulation: Simulation) { self.simulation = simulation }

    func drawLatency() -> Int64 {
        latency + Int64(simulation.generator.below(max(1, Int(jitter))))
    }

    func drawLatency(from source: String, to target: String) -> Int64 {
        let usual = drawLatency()
        if clogs.isEmpty && losses.isEmpty { return usual }
        let link = Link(from: source, to: target)
        return usual + drawClog(link) + drawRetransmissions(link)
    }

    private func drawClog(_ link: Link) -> Int64 {
        guard let more = clogs[link] else { return 0 }
        return more / 2 + Int64(simulation.generator.below(max(1, Int(more))))
    }

    /// How long it takes until a piece is sent the time that it arrives.
    private func drawRetransmissions(_ link: Link) -> Int64 {
        guard let pieces = losses[link] else { return 0 }
        var (waited, timeout) = (Int64(0), Self.retransmissionTimeout)
        while waited < Self.longestRetransmission, simulation.generator.chance(1, in: pieces) {
            waited += timeout
            timeout *= 2
        }
        return waited
    }

    // MARK: Faults

    /// Nothing passes between the two hosts until ``heal(_:_:)``; what is sent is delivered then.
    package func partition(_ a: String, _ b: String) {
        cutOff(from: a, to: b)
        cutOff(from: b, to: a)
    }

    /// Nothing passes in this direction, until ``heal(_:_:)``.
    package func cutOff(from source: String, to target: String) {
        cut.insert(Link(from: source, to: target))
    }

    /// Mends what was cut between the two hosts, in both directions.
    package func heal(_ a: String, _ b: String) {
        let ways = [Link(from: a, to: b), Link(from: b, to: a)]
        guard ways.contains(where: cut.contains) else { return }
        cut.subtract(ways)
        for connection in connections {
            connection.client.deliver()
            connection.server.deliver()
        }
    }

    /// Each piece takes about so much longer on its way from one host to the other; 0 for no longer.
    package func clog(from source: String, to target: String, by nanoseconds: Int64) {
        let link = Link(from: source, to: target)
        clogs[link] = nanoseconds > 0 ? nanoseconds : nil
    }

    /// One of so many pieces is lost on its way from one host to the other; `nil` for none.
    ///
    /// Connections show a loss as TCP does: what was lost is sent again after a while, and what
    /// follows it waits.
    package func lose(oneOf pieces: Int?, from source: String, to target: String) {
        losses[Link(from: source, to: target)] = pieces
    }

    func isCut(from source: String, to target: String) -> Bool {
        !cut.isEmpty && cut.contains(Link(from: source, to: target))
    }

    private func isCut(_ a: String, _ b: String) -> Bool {
        isCut(from: a, to: b) || isCut(from: b, to: a)
    }

    /// Breaks every connection between the two hosts.
    package func reset(_ a: String, _ b: String) {
        breakConnections {
            let (client, server) = ($0.client.life.host, $0.server.life.host)
            return (client == a && server == b) || (client == b && server == a)
        }
    }

    /// Breaks one of the connections between the two hosts, which `choose` draws from their number.
    package func resetOne(_ a: String, _ b: String, choose: (Int) -> Int) {
        let between = connections.filter {
            let (client, server) = ($0.client.life.host, $0.server.life.host)
            return (client == a && server == b) || (client == b && server == a)
        }
        guard !between.isEmpty else { return }
        let chosen = between[choose(between.count)]
        breakConnections { $0.client === chosen.client }
    }

    func hostEnded(_ life: MachineLife) {
        for (door, listener) in listeners where listener.life === life { listeners[door] = nil }
        breakConnections { $0.client.life === life || $0.server.life === life }
    }

    private func breakConnections(_ isMeant: (Connection) -> Bool) {
        let broken = connections.filter(isMeant)
        connections.removeAll(where: isMeant)
        for connection in broken {
            for end in [connection.client, connection.server] {
                simulation.after(drawLatency()) { end.fail() }
            }
        }
    }

    func forget(_ end: ConnectionEnd) {
        connections.removeAll {
            ($0.client === end || $0.server === end) && $0.client.isOver
                && $0.server.isOver
        }
    }

    // MARK: Connections

    func listen(
        _ address: SocketAddress,
        on life: MachineLife,
        loop: SimulatedEventLoop
    ) throws(NetworkError) -> Listener {
        guard life.isOn else { throw .closed }
        var bound = address
        if bound.port == 0 { bound.port = drawPort() }
        let door = Door(host: life.host, port: bound.port)
        guard listeners[door] == nil else {
            throw .cannotListen(address: "\(address)", reason: "address already in use")
        }
        let listener = SimulatedListener(bound, life: life, loop: loop) { [weak self] in
            self?.listeners[door] = nil
        }
        listeners[door] = listener
        return listener
    }

    private func drawPort() -> UInt16 {
        defer { nextPort = nextPort == .max ? Self.firstPort : nextPort + 1 }
        return nextPort
    }

    /// Connects to the host that the address names.
    func connect(
        to address: SocketAddress,
        from life: MachineLife,
        loop: SimulatedEventLoop
    ) async throws(NetworkError) -> Socket {
        if isCut(life.host, address.host) {
            await loop.sleep(nanoseconds: Self.connectTimeout)
            throw .refused(address: "\(address)", reason: "timed out")
        }
        await loop.sleep(nanoseconds: drawLatency(from: life.host, to: address.host))
        guard let listener = listeners[Door(host: address.host, port: address.port)] else {
            throw .refused(address: "\(address)", reason: "connection refused")
        }
        let own = SocketAddress(host: life.host, port: drawPort())
        let client = ConnectionEnd(self, life: life, peer: address)
        let server = ConnectionEnd(self, life: listener.life, peer: own)
        client.other = server
        server.other = client
        connections.append(Connection(client: client, server: server))
        listener.offer(server)
        await loop.sleep(nanoseconds: drawLatency(from: address.host, to: life.host))
        return SimulatedSocket(client, on: loop)
    }
}
