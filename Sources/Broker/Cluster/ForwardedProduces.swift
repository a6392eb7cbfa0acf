import Bytes
import KafkaProtocol
import Platform

/// Appends what other nodes pass on to this one.
///
/// As on a connection, what came first is appended first, also while the write-ahead log or memory
/// has no room and everybody waits.
actor ForwardedProduces {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let handler: ProduceHandler
    private let gate: ProduceGate
    private let budget: MemoryBudget
    /// Those who wait to be first in line, in their order.
    private var line: [UnsafeContinuation<Void, Never>] = []
    /// With the one who is.
    private var inLine = 0

    init(_ broker: BrokerServices, gate: ProduceGate, budget: MemoryBudget, on loop: EventLoop) {
        handler = ProduceHandler(broker: broker)
        self.gate = gate
        self.budget = budget
        self.loop = loop
    }

    /// The answer to a ``ForwardedProduce``; `nil` if it is none.
    func serve(_ payload: ByteSlice) async -> ByteSlice? {
        guard let request = try? ForwardedProduce.decodeRequest(payload) else { return nil }
        budget.add(payload.count)
        defer { budget.add(-payload.count) }
        if inLine > 0 || gate.isClosed || budget.isExhausted { await waitForRoom() }
        return try? ForwardedProduce.encode(await handler.appendForwarded(request, on: loop))
    }

    /// Nobody who comes later gets ahead, as nothing is waited for between the return and the append.
    private func waitForRoom() async {
        inLine += 1
        if inLine > 1 { await withUnsafeContinuation { line.append($0) } }
        await gate.wait(on: loop)
        await budget.waitForRoom()
        inLine -= 1
        if !line.isEmpty { line.removeFirst().resume() }
    }
}
