import Bytes
import Platform
package import Raft
import Synchronization

/// Between the transport of a node and the ``RaftReplicaManager``s of its loops.
///
/// Frames that arrive are split by the loop that owns each group: one hop a loop and frame at most,
/// none if it arrives on that loop. The beats of the node are sent and counted on one loop, the
/// home, which tells the others of changes only.
package final class RaftDispatcher: RaftTransportDelegate {
    /// The index, among the managers, of the one that owns a group.
    package typealias Placement = @Sendable (_ group: UInt64) -> Int

    private let managers: [RaftReplicaManager]
    private let placement: Placement
    private let transport: any RaftTransport
    private let calls: PeerCalls?
    private let config: RaftConfig
    private let home: HomeState
    private let heard = Mutex<[ReplicaID: UInt64]>([:])
    private let restarted = Mutex<Set<ReplicaID>>([])

    /// - Parameters:
    ///   - managers: One a loop; all with the same settings.
    ///   - transport: Sends beats; the managers send for themselves.
    ///   - calls: Gets calls and answers; without one, calls are refused.
    ///   - incarnation: Nanoseconds of the wall clock at which this process started.
    ///   - placement: Called on any loop.
    package init(
        managers: [RaftReplicaManager],
        transport: any RaftTransport,
        calls: PeerCalls? = nil,
        incarnation: UInt64,
        placement: @escaping Placement
    ) {
        precondition(!managers.isEmpty, "a dispatcher without managers")
        self.managers = managers
        self.placement = placement
        self.transport = transport
        self.calls = calls
        config = managers[0].config
        home = HomeState(
            NodeLiveness(incarnation: incarnation, patience: config.electionTicks)
        )
    }

    private var homeLoop: EventLoop { managers[0].loop }

    // MARK: Beats

    /// Exchanges beats with these nodes from now on; callable on any loop, again with each change
    /// of the cluster.
    package func follow(_ peers: [ReplicaID]) {
        let own = managers[0].replicaID
        let others = peers.filter { $0 != own }.sorted()
        onHome { [self] in
            home.liveness.follow(others)
            if !home.isBeating {
                home.isBeating = true
                tick()
            }
        }
    }

    /// Sends no more beats: the other nodes take this one for dead.
    package func fallSilent() {
        onHome { [self] in
            home.isSilenced = true
            home.timer?.cancel()
        }
    }

    /// The log that all loops share cannot be written any more: this node takes no part in any group
    /// of several, and says so by its silence.
    package func logIsPoisoned(_ error: any Error) {
        fallSilent()
        for manager in managers { on(manager.loop) { manager.logIsPoisoned(error) } }
    }

    private func tick() {
        guard !home.isSilenced else { return }
        for (peer, beat) in home.liveness.tick() { transport.send(.beat(beat), to: peer) }
        tell(home.liveness.change())
        let interval = Int64.milliseconds(Int64(config.tickMilliseconds))
        home.timer = homeLoop.schedule(after: interval) { [weak self] in self?.tick() }
    }

    /// The nodes whose beats arrive, and the incarnation in them; on any loop.
    package var heardPeers: [ReplicaID: UInt64] { heard.withLock { $0 } }

    /// Whether a node's beats arrive; on any loop.
    package func hears(_ peer: ReplicaID) -> Bool { heard.withLock { $0[peer] != nil } }

    /// Whether more than one life of a node was heard in this life of ours; on any loop.
    package func hasRestarted(_ peer: ReplicaID) -> Bool {
        restarted.withLock { $0.contains(peer) }
    }

    private func tell(_ change: NodeLiveness.Change?) {
        guard let change else { return }
        if !change.restarted.isEmpty {
            let peers = home.liveness.restartedPeers
            restarted.withLock { $0 = peers }
        }
        let lives = home.liveness.heardPeers
        heard.withLock { $0 = lives }
        for peer in change.restarted { calls?.peerIsUnreachable(peer) }
        for manager in managers {
            on(manager.loop) {
                manager.peersChanged(
                    change.view,
                    returned: change.returned,
                    restarted: change.restarted
                )
            }
        }
    }

    // MARK: Frames

    package func received(_ frame: PeerFrame, from peer: ReplicaID) {
        switch frame {
        case .messages(let messages): received(messages, from: peer)
        case .beat(let beat):
            onHome { [self] in
                if !home.isSilenced { tell(home.liveness.received(beat, from: peer)) }
            }
        case .snapshotChunk(let chunk):
            let manager = manager(of: chunk.group)
            on(manager.loop) { manager.receive(chunk, from: peer) }
        case .snapshotAnswer(let answer):
            let manager = manager(of: answer.group)
            on(manager.loop) { manager.receive(answer, from: peer) }
        case .call(let call): received(call, from: peer)
        case .answer(let answer): calls?.received(answer, from: peer)
        }
    }

    private func received(_ messages: [GroupMessage], from peer: ReplicaID) {
        guard let first = messages.first else { return }
        let place = placement(first.group)
        if managers.count == 1 || messages.allSatisfy({ placement($0.group) == place }) {
            let manager = managers[place]
            on(manager.loop) { manager.receive(messages, from: peer) }
            return
        }
        var parts = [[GroupMessage]](repeating: [], count: managers.count)
        for message in messages { parts[placement(message.group)].append(message) }
        for (manager, part) in zip(managers, parts) where !part.isEmpty {
            on(manager.loop) { manager.receive(part, from: peer) }
        }
    }

    private func received(_ call: PeerCall, from peer: ReplicaID) {
        if let calls { return calls.received(call, from: peer) }
        let refusal = PeerAnswer(id: call.id, isRefused: true, payload: ByteSlice())
        transport.send(.answer(refusal), to: peer)
    }

    package func peerIsUnreachable(_ peer: ReplicaID) {
        onHome { [self] in home.liveness.isUnreachable(peer) }
        calls?.peerIsUnreachable(peer)
        for manager in managers { on(manager.loop) { manager.peerIsUnreachable(peer) } }
    }

    // MARK: Loops

    private func manager(of group: UInt64) -> RaftReplicaManager { managers[placement(group)] }

    private func onHome(_ body: @escaping @Sendable () -> Void) { on(homeLoop, body) }

    private func on(_ loop: EventLoop, _ body: @escaping @Sendable () -> Void) {
        if loop.isCurrent { body() } else { loop.execute(body) }
    }
}

/// What the dispatcher keeps on its home loop.
private final class HomeState: @unchecked Sendable {
    // Unchecked: confined to the home loop.
    var liveness: NodeLiveness
    var isBeating = false
    var isSilenced = false
    var timer: LoopTimer?

    init(_ liveness: NodeLiveness) { self.liveness = liveness }
}
