package import Bytes
package import KafkaMessages

/// Names a request that waits for its reply.
package struct ReplyToken: Hashable, Sendable {
    package let rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// A reply of the group coordinator.
package enum GroupReply: Sendable, Equatable {
    case join(JoinGroupResponse)
    case sync(SyncGroupResponse)
    case heartbeat(HeartbeatResponse)
    case leave(LeaveGroupResponse)
    case offsetCommit(OffsetCommitResponse)
    case offsetDelete(OffsetDeleteResponse)
    /// The error code of one group's deletion.
    case delete(Int16)
}

/// A record of `__consumer_offsets`; without a value it takes its key away.
package struct CoordinatorRecord: Sendable, Equatable {
    package let key: ByteSlice
    package let value: ByteSlice?
}

/// What a coordinator wants done, in order.
package struct GroupEffects: Sendable {
    package struct Write: Sendable {
        package let id: UInt64
        package let records: [CoordinatorRecord]
    }

    package var replies: [(token: ReplyToken, reply: GroupReply)] = []
    /// To be appended to the partition's log; tell the outcome with `appendFinished`.
    package var writes: [Write] = []

    package init() {}
}
