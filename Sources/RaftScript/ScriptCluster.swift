internal import Raft

/// A small group of replicas driven directive by directive.
///
/// | directive | does |
/// |---|---|
/// | `add-nodes N voters=(…) learners=(…) index=I …` | N new replicas, numbered on |
/// | `campaign N`, `forget-leader N` | as if the timeout had passed, the leader were unknown |
/// | `propose N TEXT`, `propose-conf-change N [v1=true] [transition=…]` | at replica N |
/// | `process-ready N…` | takes a Ready, writes and applies it, sends its messages |
/// | `process-append-thread N…`, `process-apply-thread N…` | with `async-storage-writes=true` |
/// | `deliver-msgs N… [type=T] [drop=(…)]` | delivers, or loses, what is on its way to them |
/// | `stabilize [N…]` | all of this until nothing is left to do |
/// | `tick-election N`, `tick-heartbeat N` | as many ticks as make a timeout |
/// | `set-randomized-election-timeout N timeout=T` | |
/// | `compact N I`, `send-snapshot N M` | |
/// | `transfer-leadership from=N to=M`, `report-unreachable N M` | |
/// | `raft-state`, `raft-log N`, `status N`, `log-level L` | nothing: the state is printed anyway |
package struct ScriptCluster {
    static let electionTicks = 3
    static let heartbeatTicks = 1

    var replicas: [ScriptReplica] = []
    var network: [ScriptMessage] = []

    package init() {}

    /// Runs one directive.
    package mutating func run(_ directive: Directive) throws(ScriptError) {
        guard directive.input.isEmpty || directive.command == "propose-conf-change" else {
            throw ScriptError(
                line: directive.line + 1,
                reason: "\(directive.command) takes no input; is an empty line missing?"
            )
        }
        switch directive.command {
        case "add-nodes":
            try addReplicas(directive)
        case "log-level", "raft-log", "raft-state", "status", "_breakpoint":
            break
        case "deliver-msgs":
            try deliver(directive)
        case "stabilize":
            try stabilize(directive)
        case "process-ready":
            for place in try places(directive) { processReady(place) }
        case "process-append-thread":
            for place in try places(directive) { network += replicas[place].processAppendThread() }
        case "process-apply-thread":
            for place in try places(directive) { network += replicas[place].processApplyThread() }
        case "transfer-leadership":
            let source = try place(directive, key: "from")
            let target = replicas[try place(directive, key: "to")].id
            try? replicas[source].node.transferLeadership(to: target)
        default:
            try runAtOne(directive)
        }
    }

    /// Directives that concern one replica, the first number they name.
    private mutating func runAtOne(_ directive: Directive) throws(ScriptError) {
        let place = try place(directive, word: 0)
        switch directive.command {
        case "campaign":
            replicas[place].node.campaign()
        case "forget-leader":
            replicas[place].node.forgetLeader()
        case "propose":
            propose(directive.words.dropFirst().joined(separator: " "), at: place)
        case "propose-conf-change":
            try proposeChange(directive, at: place)
        case "tick-election":
            for _ in 0..<Self.electionTicks { replicas[place].node.tick() }
        case "tick-heartbeat":
            for _ in 0..<Self.heartbeatTicks { replicas[place].node.tick() }
        case "set-randomized-election-timeout":
            replicas[place].node.setElectionTimeout(ticks: try number(directive, key: "timeout"))
        case "compact":
            let index = LogIndex(UInt64(try number(directive, word: 1)))
            guard index <= replicas[place].node.applied, replicas[place].log.compact(through: index)
            else {
                throw ScriptError(line: directive.line, reason: "nothing to compact at \(index)")
            }
        case "report-unreachable":
            let peer = replicas[try self.place(directive, word: 1)].id
            replicas[place].node.reportUnreachable(peer)
        case "send-snapshot":
            try sendSnapshot(directive, from: place)
        default:
            throw ScriptError(line: directive.line, reason: "no directive \(directive.command)")
        }
    }

    // MARK: - Proposing

    private mutating func propose(_ text: String, at place: Int) {
        let payload = RaftPayload(copying: Array(text.utf8))
        do throws(RaftProposalError) {
            try replicas[place].node.propose(payload)
        } catch .notLeader {
            try? replicas[place].node.forwardProposal([payload])
        } catch {
            // Dropped, as a client would find out by waiting.
        }
    }

    private mutating func proposeChange(
        _ directive: Directive,
        at place: Int
    ) throws(ScriptError) {
        let change = try change(directive)
        do throws(RaftProposalError) {
            try replicas[place].node.propose(change)
        } catch .changePending {
            refuse(at: place)
        } catch .mustLeaveJoint {
            refuse(at: place)
        } catch .notJoint {
            refuse(at: place)
        } catch {
            // Dropped.
        }
    }

    /// A change refused by a leader leaves an entry without bytes in its place.
    private mutating func refuse(at place: Int) {
        _ = try? replicas[place].node.propose(.empty)
    }

    private func change(_ directive: Directive) throws(ScriptError) -> ConfigurationChange {
        var steps: [ConfigurationChange.Step] = []
        for word in directive.input.split(whereSeparator: \.isWhitespace) {
            let kinds: [Character: ConfigurationChange.Step.Kind] = [
                "v": .addVoter, "l": .addLearner, "r": .removeReplica, "u": .update,
            ]
            guard let letter = word.first, let kind = kinds[letter],
                let id = UInt64(word.dropFirst())
            else { throw ScriptError(line: directive.line, reason: "no change \(word)") }
            steps.append(ConfigurationChange.Step(kind, ReplicaID(id)))
        }
        if directive.values("v1") == ["true"] {
            return ConfigurationChange(steps, transition: .simple)
        }
        switch directive.values("transition")?.first ?? "auto" {
        case "auto": return ConfigurationChange(steps)
        case "implicit": return ConfigurationChange(steps, transition: .jointImplicit)
        case "explicit": return ConfigurationChange(steps, transition: .jointExplicit)
        case let other:
            throw ScriptError(line: directive.line, reason: "no transition \(other)")
        }
    }

    private mutating func sendSnapshot(
        _ directive: Directive,
        from place: Int
    ) throws(ScriptError) {
        let target = replicas[try self.place(directive, word: 1)].id
        let source = replicas[place]
        guard let snapshot = source.log.latestSnapshot else { return }
        let message = Message(
            from: source.id,
            to: target,
            term: source.node.term,
            body: .snapshot(snapshot)
        )
        network.append(ScriptMessage(to: target, term: message.term, content: .message(message)))
    }

    // MARK: - Moving on

    private mutating func processReady(_ place: Int) {
        network += replicas[place].processReady()
    }

    private mutating func deliver(_ directive: Directive) throws(ScriptError) {
        let type = directive.values("type")?.first
        for place in try places(directive) { deliver(to: replicas[place].id, type: type) }
        for word in directive.values("drop") ?? [] {
            guard let id = UInt64(word) else {
                throw ScriptError(line: directive.line, reason: "no replica \(word)")
            }
            network.removeAll { message in
                message.to == ReplicaID(id) && !message.isLocal
                    && (type == nil || MessageState(message).type == type)
            }
        }
    }

    /// Delivers what is on its way to a replica; answers whether there was anything.
    @discardableResult
    private mutating func deliver(to id: ReplicaID, type: String? = nil) -> Bool {
        func concerns(_ message: ScriptMessage) -> Bool {
            message.to == id && (type == nil || MessageState(message).type == type)
        }
        let mine = network.filter(concerns)
        guard !mine.isEmpty, let place = replicas.firstIndex(where: { $0.id == id }) else {
            return false
        }
        network.removeAll(where: concerns)
        for message in mine { replicas[place].deliver(message) }
        return true
    }

    private mutating func stabilize(_ directive: Directive) throws(ScriptError) {
        var places = try places(directive)
        if places.isEmpty { places = Array(replicas.indices) }
        for _ in 0..<100_000 {
            var isDone = true
            for place in places where replicas[place].node.hasReady {
                processReady(place)
                isDone = false
            }
            for place in places where deliver(to: replicas[place].id) { isDone = false }
            for place in places where !replicas[place].appendWork.isEmpty {
                while !replicas[place].appendWork.isEmpty {
                    network += replicas[place].processAppendThread()
                }
                isDone = false
            }
            for place in places where !replicas[place].applyWork.isEmpty {
                while !replicas[place].applyWork.isEmpty {
                    network += replicas[place].processApplyThread()
                }
                isDone = false
            }
            if isDone { return }
        }
        throw ScriptError(line: directive.line, reason: "it never becomes stable")
    }

    // MARK: - Reading arguments

    /// The replicas named by words.
    private func places(_ directive: Directive) throws(ScriptError) -> [Int] {
        var places: [Int] = []
        for word in directive.words { places.append(try place(word, directive)) }
        return places
    }

    private func place(_ directive: Directive, word: Int) throws(ScriptError) -> Int {
        let words = directive.words
        guard word < words.count else {
            throw ScriptError(line: directive.line, reason: "it names no replica")
        }
        return try place(words[word], directive)
    }

    private func place(_ directive: Directive, key: String) throws(ScriptError) -> Int {
        guard let value = directive.values(key)?.first else {
            throw ScriptError(line: directive.line, reason: "\(key) is missing")
        }
        return try place(value, directive)
    }

    private func place(_ word: String, _ directive: Directive) throws(ScriptError) -> Int {
        guard let id = Int(word), id >= 1, id <= replicas.count else {
            throw ScriptError(line: directive.line, reason: "no replica \(word)")
        }
        return id - 1
    }

    private func number(_ directive: Directive, word: Int) throws(ScriptError) -> Int {
        let words = directive.words
        guard word < words.count, let number = Int(words[word]), number >= 0 else {
            throw ScriptError(line: directive.line, reason: "argument \(word) is no number")
        }
        return number
    }

    private func number(_ directive: Directive, key: String) throws(ScriptError) -> Int {
        guard let value = directive.values(key)?.first, let number = Int(value), number >= 0 else {
            throw ScriptError(line: directive.line, reason: "\(key) is no number")
        }
        return number
    }
}
