import ClusterMetadata
import Platform

/// Hands leaderships of this node over until every node leads its share.
///
/// Each node looks at the committed metadata and moves what it leads itself. It waits for some
/// seconds of calm after a broker came or went, moves a few at a time, and leaves a group alone
/// for a while after it was tried. Nothing is looked at while nothing has changed.
actor LeadershipBalance {
    private static let calm = Int64.seconds(3)
    private static let pause = Int64.milliseconds(500)
    private static let transfersPerRound = 8
    private static let rest = Int64.seconds(10)
    /// Of a group that could not be handed over.
    private static let shortRest = Int64.seconds(1)

    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private let nodeID: Int32
    private let published: PublishedImage
    private let transfer: @Sendable (LeaderBalance.Transfer) async -> Bool
    private var calmFrom: Int64
    private var hasNews = true
    /// Whether the last look found every partition with its preferred leader.
    private var isSettled = false
    private var isRunning = false
    private var isOver = false
    /// When groups that were tried may be tried again.
    private var resting: [UInt64: Int64] = [:]

    init(
        loop: EventLoop,
        nodeID: Int32,
        published: PublishedImage,
        transfer: @escaping @Sendable (LeaderBalance.Transfer) async -> Bool
    ) {
        self.loop = loop
        self.nodeID = nodeID
        self.published = published
        self.transfer = transfer
        calmFrom = loop.clock.monotonicNanoseconds + Self.calm
    }

    /// What may have made leadership uneven, or a replica able to lead.
    func changed(_ delta: MetadataDelta) {
        if !delta.brokers.isEmpty || !delta.removedBrokers.isEmpty {
            calmFrom = loop.clock.monotonicNanoseconds + Self.calm
            hasNews = true
        }
        if !hasNews {
            hasNews = delta.partitions.contains {
                !isSettled || !($0.new.map(LeaderBalance.isSettled) ?? true)
            }
        }
        begin()
    }

    func begin() {
        guard !isRunning, !isOver, hasNews else { return }
        isRunning = true
        Task.immediate(executorPreference: loop) { await self.run() }
    }

    /// The node stops.
    func end() { isOver = true }

    private func run() async {
        while hasNews && !isOver {
            let now = loop.clock.monotonicNanoseconds
            guard now >= calmFrom else {
                await loop.sleep(nanoseconds: calmFrom - now)
                continue
            }
            hasNews = false
            let balance = LeaderBalance(published.current)
            isSettled = balance.isSettled
            let own = balance.transfers(limit: .max).filter { $0.from == nodeID }
            resting = resting.filter { $0.value > now }
            var begun = 0
            for wanted in own where resting[wanted.groupID] == nil {
                guard begun < Self.transfersPerRound, !isOver else { break }
                let isUnderWay = await transfer(wanted)
                if isUnderWay { begun += 1 }
                resting[wanted.groupID] = now + (isUnderWay ? Self.rest : Self.shortRest)
            }
            // Those that rest, or were one too many, come later.
            if !own.isEmpty { hasNews = true }
            await loop.sleep(nanoseconds: Self.pause)
        }
        isRunning = false
    }
}
