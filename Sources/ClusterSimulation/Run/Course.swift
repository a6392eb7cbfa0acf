import Platform

/// When a run is busy and troubled, and when it is calm.
///
/// A short run is one episode of trouble. A long one is like the days of a cluster: episodes, and
/// between them stretches in which nothing new happens to it and its clients do little; in runs of
/// an hour and more some of those are as long as nights. What an episode has broken may last into
/// the calm; the cluster gets over it by itself.
struct Course {
    /// Runs of at most so many seconds are trouble from their beginning to their end.
    static let longestEpisode: Int64 = 120
    /// Runs of at least so many seconds have nights.
    static let longestDay: Int64 = 3_600
    private static let episode = 3_000...10_000
    private static let calm = 20_000...130_000
    private static let night = 1_200_000...4_800_000

    /// Virtual time of the episodes, by rising time.
    private let episodes: [Range<Int64>]
    private let end: Int64

    init(seconds: Int64, from start: Int64, _ generator: inout ClusterGenerator) {
        end = start + .seconds(seconds)
        guard seconds > Self.longestEpisode else {
            episodes = [start..<end]
            return
        }
        var drawn: [Range<Int64>] = []
        var time = start
        while time < end {
            let episode = time..<min(end, time + Self.draw(Self.episode, &generator))
            drawn.append(episode)
            let isNight = seconds >= Self.longestDay && generator.chance(1, in: 4)
            time = episode.upperBound + Self.draw(isNight ? Self.night : Self.calm, &generator)
        }
        episodes = drawn
    }

    private static func draw(
        _ milliseconds: ClosedRange<Int>,
        _ generator: inout ClusterGenerator
    ) -> Int64 {
        .milliseconds(Int64(milliseconds.lowerBound + generator.below(milliseconds.count)))
    }

    /// How many episodes it has.
    var episodeCount: Int { episodes.count }

    /// How long it stays calm; `nil` in trouble, and once the run is over.
    func calm(at now: Int64) -> Int64? {
        guard now < end, let next = episodes.first(where: { now < $0.upperBound }) else {
            return now < end ? end - now : nil
        }
        return now < next.lowerBound ? next.lowerBound - now : nil
    }

    /// How long it takes until so much more time of trouble has passed; `nil` if there is no more.
    func delay(of trouble: Int64, at now: Int64) -> Int64? {
        var left = trouble
        for episode in episodes where now < episode.upperBound {
            let from = max(now, episode.lowerBound)
            if from + left < episode.upperBound { return from + left - now }
            left -= episode.upperBound - from
        }
        return nil
    }
}
