/// What must hold of a group at every moment.
package enum Invariant: String, CaseIterable, Sendable {
    case electionSafety = "I1"
    case logMatching = "I2"
    case leaderCompleteness = "I3"
    case stateMachineSafety = "I4"
    case commitOnQuorum = "I5"
    case committedNeverChanges = "I6"
    case monotoneState = "I7"
    case orderedIndexes = "I8"
    case durableBeforeObservable = "I9"
    case leaderAppendsOnly = "I10"
    case durableTermBeforeSpeaking = "I11"
    case oneChangeAtATime = "I12"
    case onlyVotersCount = "I13"
    case acknowledgedExactlyOnce = "I14"
    case linearizableReads = "I15"
    case progressAfterHealing = "I16"

    package var statement: String {
        switch self {
        case .electionSafety: "at most one leader a term; one vote a replica and term"
        case .logMatching: "the same index and term is the same entry, after the same entries"
        case .leaderCompleteness: "a leader has everything committed in earlier terms"
        case .stateMachineSafety: "the same index is the same state on every replica"
        case .commitOnQuorum: "what is committed is durable on a majority of each voter set"
        case .committedNeverChanges: "what is committed stays what it is"
        case .monotoneState: "term, vote, commit and applied never go back"
        case .orderedIndexes: "snapshot <= applied <= commit <= last; a replica can come back"
        case .durableBeforeObservable:
            "no vote or acknowledgement before what it promises is durable"
        case .leaderAppendsOnly: "a leader never cuts its own log"
        case .durableTermBeforeSpeaking: "nothing is said in a term that could be forgotten"
        case .oneChangeAtATime: "one uncommitted change; the majorities before and after meet"
        case .onlyVotersCount: "learners and strangers neither lead nor count"
        case .acknowledgedExactlyOnce: "what was acknowledged is applied once; nothing else is"
        case .linearizableReads: "a read shows all that was committed before it began"
        case .progressAfterHealing: "a healed majority agrees and serves; memory is bounded"
        }
    }
}

/// An invariant that did not hold.
package struct Violation: Sendable, Equatable, CustomStringConvertible {
    package var invariant: Invariant
    package var what: String
    /// After how many events.
    package var event: Int

    package var description: String {
        "\(invariant.rawValue) (\(invariant.statement)) after event \(event): \(what)"
    }
}
