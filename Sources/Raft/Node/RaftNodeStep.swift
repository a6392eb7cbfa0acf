extension RaftNode {
    /// Takes a message from another replica.
    ///
    /// - Parameter message: Whatever came over the network; nothing in it is trusted to be
    ///   consistent.
    /// - Throws: `RaftStepError`; the node goes on as if the message had been lost.
    public mutating func step(_ message: Message) throws(RaftStepError) {
        guard message.to == id else { throw .notAddressedHere(message.to) }
        // Its own voice it hears in onPersisted, and never before.
        guard message.from != id else { throw .malformed("from itself") }
        try message.validate()
        if isQuiescent && !message.isQuiescing { wake() }
        if try stepClientMessage(message) { return }
        if let commit = message.commitPoint { learn(commit) }
        if message.term > term {
            guard adoptTerm(of: message) else { return }
        } else if message.term < term {
            answerStale(message)
            return
        }
        switch message.body {
        case .vote(let request): answer(request, of: message, isPreVote: false)
        case .preVote(let request): answer(request, of: message, isPreVote: true)
        case .voteResponse(let granted, _):
            if role == .candidate { record(vote: granted, of: message.from) }
        case .preVoteResponse(let granted, _):
            if role == .preCandidate { record(vote: granted, of: message.from) }
        case .append(let append):
            try follow(message.from)
            try accept(append, from: message.from)
        case .heartbeat(let heartbeat):
            try follow(message.from)
            try accept(heartbeat, from: message.from)
        case .snapshot(let snapshot):
            try follow(message.from)
            try accept(snapshot, from: message.from)
        case .timeoutNow:
            if role == .follower { startCampaign(.transfer) }
        case .readIndexResponse(let index, let context):
            if role == .follower { readStates.append(ReadState(index: index, context: context)) }
        case .appendResponse, .heartbeatResponse, .lostEntries:
            try stepLeader(message)
        case .propose, .readIndex, .transferLeader:
            break
        }
    }

    /// Messages on behalf of clients have no term.
    private mutating func stepClientMessage(_ message: Message) throws(RaftStepError) -> Bool {
        switch message.body {
        case .propose(let proposals):
            do throws(RaftProposalError) {
                try take(proposals)
            } catch {
                throw .proposal(error)
            }
        case .readIndex(let context):
            if role == .leader { takeRead(context: context, from: message.from) }
        case .transferLeader(let target):
            do throws(RaftProposalError) {
                try transferLeadership(to: target)
            } catch {
                throw .proposal(error)
            }
        default:
            return false
        }
        return true
    }

    /// Moves to a higher term, where that is what the message is for; false if it is to be ignored.
    private mutating func adoptTerm(of message: Message) -> Bool {
        switch message.body {
        case .vote(let request), .preVote(let request):
            // Disturbed by a replica that was removed or cut off (4.2.3): the leader is alive.
            if hasLeaderLease && !request.isTransfer { return false }
            if case .vote = message.body { followTerm(of: message) }
        case .preVoteResponse(granted: true, _):
            // Carries the term it was asked for; nobody is there yet.
            break
        case .append, .heartbeat, .snapshot:
            becomeFollower(term: message.term, leader: message.from)
        default:
            becomeFollower(term: message.term, leader: nil)
        }
        return true
    }

    /// Moves to the term of a candidate, which may not get its vote.
    ///
    /// Only a vote granted puts off an own campaign: else candidates that cannot win could keep the
    /// one that can from ever trying.
    private mutating func followTerm(of message: Message) {
        let elapsed = role == .leader ? 0 : electionElapsed
        becomeFollower(term: message.term, leader: nil)
        electionElapsed = elapsed
    }

    /// Tells a sender of an earlier term what it has missed, where that can matter.
    private mutating func answerStale(_ message: Message) {
        switch message.body {
        case .append, .heartbeat:
            // With check-quorum a replica in a higher term cannot get through by campaigning: the
            // others ignore it, and it ignores their leader. This answer makes the leader step
            // down; with pre-vote it frees a replica that came back with a higher term.
            // One that may not campaign has no other way to be heard.
            guard configuration.checkQuorum || configuration.preVote || !isPromotable else {
                return
            }
            send(.appendResponse(Message.AppendResponse(index: .zero)), to: message.from)
        case .vote:
            // The candidate may need this replica's vote and hear of its term from nobody else:
            // without the answer it would fall behind again with every election here (3.3).
            send(.voteResponse(granted: false, commit: commitPoint), to: message.from)
        case .preVote:
            send(.preVoteResponse(granted: false, commit: commitPoint), to: message.from)
        default:
            break
        }
    }

    /// Accepts the sender as the leader of this term.
    private mutating func follow(_ sender: ReplicaID) throws(RaftStepError) {
        switch role {
        case .leader:
            throw .malformed("replica \(sender) leads term \(term) too")
        case .candidate, .preCandidate:
            becomeFollower(term: term, leader: sender)
        case .follower:
            electionElapsed = 0
            leader = sender
        }
    }
}

extension Message {
    var isQuiescing: Bool {
        if case .heartbeat(let heartbeat) = body { return heartbeat.quiesce }
        return false
    }

    var commitPoint: CommitPoint? {
        switch body {
        case .voteResponse(_, let commit), .preVoteResponse(_, let commit): commit
        default: nil
        }
    }

    /// Refuses what no correct replica sends and what arithmetic further on could trip over.
    func validate() throws(RaftStepError) {
        guard from.rawValue != 0, term.rawValue < 1 << 62 else {
            throw .malformed("from \(from) in term \(term)")
        }
        switch body {
        case .propose, .readIndex, .transferLeader: return
        default: break
        }
        guard term > .zero else { throw .malformed("a message without a term") }
        switch body {
        case .append(let append):
            try append.validate(in: term)
        case .appendResponse(let response):
            guard response.index < .limit, (response.rejection?.index ?? .zero) < .limit else {
                throw .malformed("index \(response.index)")
            }
        case .heartbeat(let heartbeat):
            guard heartbeat.commit < .limit else { throw .malformed("commit \(heartbeat.commit)") }
        case .snapshot(let snapshot):
            let metadata = snapshot.metadata
            guard metadata.index > .zero, metadata.index < .limit, metadata.term <= term,
                !metadata.membership.voters.isEmpty, metadata.membership.isConsistent
            else { throw .malformed("snapshot \(metadata)") }
        default:
            break
        }
    }
}

extension Message.Append {
    func validate(in term: Term) throws(RaftStepError) {
        guard previousIndex < .limit, commit < .limit, previousTerm <= term else {
            throw .malformed("append after \(previousIndex) of term \(previousTerm) in \(term)")
        }
        var index = previousIndex
        var last = previousTerm
        for entry in entries {
            index = index + 1
            guard entry.index == index, entry.term >= last, entry.term <= term else {
                throw .malformed(
                    "entry \(entry.index) of term \(entry.term) where \(index), \(last)...\(term)"
                )
            }
            last = entry.term
        }
    }
}
