import KafkaProtocol
import Testing

@testable import LogStorage

@Suite struct LeaderEpochsTests {
    private func epochs(_ entries: [(Int32, Int64)]) -> LeaderEpochs {
        var epochs = LeaderEpochs()
        for (epoch, offset) in entries {
            epochs.append(LeaderEpoch(epoch), startingAt: Offset(offset))
        }
        return epochs
    }

    private func end(_ epochs: LeaderEpochs, _ epoch: Int32) -> [Int64] {
        let answer = epochs.endOffset(of: LeaderEpoch(epoch), logEnd: Offset(100))
        return [Int64(answer.epoch.rawValue), answer.end.rawValue]
    }

    @Test func `an epoch ends where the next one begins, the last at the log's end`() {
        let known = epochs([(2, 0), (3, 10), (7, 40)])
        #expect(end(known, 2) == [2, 10])
        #expect(end(known, 3) == [3, 40])
        #expect(end(known, 7) == [7, 100])
    }

    @Test func `of an epoch without records the one before it is the answer`() {
        let known = epochs([(2, 0), (3, 10), (7, 40)])
        for epoch in [4, 5, 6] as [Int32] { #expect(end(known, epoch) == [3, 40]) }
    }

    @Test func `epochs before all and after all are unknown`() {
        let known = epochs([(2, 0), (3, 10)])
        #expect(end(known, 1) == [-1, -1])
        #expect(end(known, 4) == [-1, -1])
        #expect(end(known, -1) == [-1, -1])
        #expect(end(LeaderEpochs(), 0) == [-1, -1])
        #expect(LeaderEpochs().latest == .none && known.latest == LeaderEpoch(3))
    }

    @Test func `an epoch that did not write leaves no trace, an older one is not taken in`() {
        let known = epochs([(1, 0), (2, 10), (3, 10), (3, 20), (2, 30)])
        #expect(known.entries.map(\.epoch.rawValue) == [1, 3])
        #expect(known.entries.map(\.startOffset.rawValue) == [0, 10])
    }

    @Test func `cutting keeps the epoch that the offset lies in`() {
        for (offset, kept) in [
            (0, [1, 2, 3]), (9, [1, 2, 3]), (10, [2, 3]), (19, [2, 3]), (20, [3]), (99, [3]),
        ] as [(Int64, [Int32])] {
            var known = epochs([(1, 0), (2, 10), (3, 20)])
            known.truncate(before: Offset(offset))
            #expect(known.entries.map(\.epoch.rawValue) == kept, "\(offset)")
        }
    }

    // MARK: Divergence (KIP-595)

    @Test func `a client whose log agrees is told nothing`() throws {
        let fixture = try LogFixture()
        for term in [1, 1, 3, 3] as [Int32] { fixture.append(LogFixture.batch(), term: term) }
        for (offset, epoch) in [(1, 1), (2, 1), (3, 3), (4, 3)] as [(Int64, Int32)] {
            let found = fixture.log.divergence(offset: Offset(offset), epoch: LeaderEpoch(epoch))
            #expect(found == nil, "\(offset) of epoch \(epoch)")
        }
    }

    @Test func `a client whose log went another way is told where it parts`() throws {
        let fixture = try LogFixture()
        for term in [1, 1, 3, 3] as [Int32] { fixture.append(LogFixture.batch(), term: term) }
        let longer = fixture.log.divergence(offset: Offset(3), epoch: LeaderEpoch(1))
        #expect(longer?.epoch == LeaderEpoch(1) && longer?.endOffset == Offset(2))
        let other = fixture.log.divergence(offset: Offset(3), epoch: LeaderEpoch(2))
        #expect(other?.epoch == LeaderEpoch(1) && other?.endOffset == Offset(2))
        let beyond = fixture.log.divergence(offset: Offset(9), epoch: LeaderEpoch(3))
        #expect(beyond?.epoch == LeaderEpoch(3) && beyond?.endOffset == Offset(4))
    }
}
