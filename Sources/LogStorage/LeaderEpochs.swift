package import KafkaProtocol

/// At which offset each leader epoch began (KIP-101).
package struct LeaderEpochs: Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
        package let epoch: LeaderEpoch
        package let startOffset: Offset
    }

    /// Epochs and offsets both rise.
    package private(set) var entries: [Entry] = []

    package init() {}

    package var latest: LeaderEpoch { entries.last?.epoch ?? .none }

    package mutating func append(_ epoch: LeaderEpoch, startingAt offset: Offset) {
        if let last = entries.last {
            guard epoch > last.epoch else { return }
            // An epoch without a record leaves no trace.
            if last.startOffset == offset { entries.removeLast() }
        }
        entries.append(Entry(epoch: epoch, startOffset: offset))
    }

    /// Forgets what ended below the log's start, but for the epoch the start lies in.
    package mutating func truncate(before offset: Offset) {
        guard let place = entries.lastIndex(where: { $0.startOffset <= offset }), place > 0 else {
            return
        }
        entries.removeFirst(place)
    }

    /// The largest epoch not above `epoch`, and where the next one begins.
    ///
    /// (-1, -1) for an epoch before all that are known, as OffsetForLeaderEpoch answers.
    package func endOffset(
        of epoch: LeaderEpoch,
        logEnd: Offset
    ) -> (epoch: LeaderEpoch, end: Offset) {
        guard let place = entries.lastIndex(where: { $0.epoch <= epoch }) else {
            return (.none, Offset(-1))
        }
        if place == entries.count - 1 {
            return epoch > entries[place].epoch
                ? (.none, Offset(-1)) : (entries[place].epoch, logEnd)
        }
        return (entries[place].epoch, entries[place + 1].startOffset)
    }
}
