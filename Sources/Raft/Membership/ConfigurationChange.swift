/// A change of membership as it is proposed, logged and applied (thesis, 4).
///
/// Without steps it leaves a joint configuration.
public struct ConfigurationChange: Sendable, Equatable {
    public struct Step: Sendable, Equatable {
        public enum Kind: UInt8, Sendable {
            case addVoter = 0
            case removeReplica = 1
            case addLearner = 2
            /// Changes nothing; carries a context through the log.
            case update = 3
        }

        public var kind: Kind
        public var replica: ReplicaID

        public init(_ kind: Kind, _ replica: ReplicaID) {
            self.kind = kind
            self.replica = replica
        }
    }

    public enum Transition: UInt8, Sendable {
        /// At once if the sets of voters differ by one at most, else jointly with `autoLeave`.
        case automatic = 0
        /// Jointly, and out again by itself once the joint configuration is committed.
        case jointImplicit = 1
        /// Jointly, until a change without steps is proposed.
        case jointExplicit = 2
        /// At once, never jointly: refused when applied if voters differ by more than one.
        case simple = 3
    }

    public var transition: Transition
    public var steps: [Step]

    public init(_ steps: [Step] = [], transition: Transition = .automatic) {
        self.steps = steps
        self.transition = transition
    }

    public static let leaveJoint = ConfigurationChange()

    var leavesJoint: Bool { steps.isEmpty && transition == .automatic }

    /// Whether it is carried out jointly, and if so whether it ends by itself; nil if not jointly.
    var jointAutoLeave: Bool? {
        switch transition {
        case .simple: nil
        case .automatic: steps.count > 1 ? true : nil
        case .jointImplicit: true
        case .jointExplicit: false
        }
    }
}

/// Why bytes are not a `ConfigurationChange`.
public struct MalformedConfigurationChange: Error, Sendable, Equatable {
    public let reason: String
}

// Byte layout, all numbers big-endian:
//
//     version: UInt8 = 1 | transition: UInt8 | count: UInt16 | count * (kind: UInt8, id: UInt64)
extension ConfigurationChange {
    private static let version: UInt8 = 1
    private static let headerLength = 4
    private static let stepLength = 9

    public func encoded() -> RaftPayload {
        precondition(steps.count <= Int(UInt16.max), "\(steps.count) steps")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.headerLength + steps.count * Self.stepLength)
        bytes.append(Self.version)
        bytes.append(transition.rawValue)
        bytes.append(UInt8(truncatingIfNeeded: steps.count >> 8))
        bytes.append(UInt8(truncatingIfNeeded: steps.count))
        for step in steps {
            bytes.append(step.kind.rawValue)
            for shift in stride(from: 56, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: step.replica.rawValue >> UInt64(shift)))
            }
        }
        return RaftPayload(copying: bytes)
    }

    public init(decoding payload: RaftPayload) throws(MalformedConfigurationChange) {
        // What a leader appends by itself to leave a joint configuration.
        if payload.isEmpty {
            self = .leaveJoint
            return
        }
        let bytes = payload.bytes
        guard bytes.count >= Self.headerLength, bytes[0] == Self.version else {
            throw MalformedConfigurationChange(reason: "\(bytes.count) bytes without a header")
        }
        guard let transition = Transition(rawValue: bytes[1]) else {
            throw MalformedConfigurationChange(reason: "transition \(bytes[1])")
        }
        let count = Int(bytes[2]) << 8 | Int(bytes[3])
        guard bytes.count == Self.headerLength + count * Self.stepLength else {
            throw MalformedConfigurationChange(reason: "\(bytes.count) bytes for \(count) steps")
        }
        var steps: [Step] = []
        steps.reserveCapacity(count)
        for number in 0..<count {
            let start = Self.headerLength + number * Self.stepLength
            guard let kind = Step.Kind(rawValue: bytes[start]) else {
                throw MalformedConfigurationChange(reason: "step of kind \(bytes[start])")
            }
            var id: UInt64 = 0
            for byte in bytes[(start + 1)..<(start + Self.stepLength)] {
                id = id << 8 | UInt64(byte)
            }
            steps.append(Step(kind, ReplicaID(id)))
        }
        self.init(steps, transition: transition)
    }
}
