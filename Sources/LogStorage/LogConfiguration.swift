/// What a topic's configuration says about its partitions' files.
package struct LogConfiguration: Sendable, Equatable {
    package var segmentBytes: Int
    package var segmentMilliseconds: Int64
    package var indexIntervalBytes: Int
    /// Size of a segment's offset index at which the segment is closed.
    package var indexBytes: Int
    /// -1: no limit.
    package var retentionBytes: Int64
    /// -1: no limit.
    package var retentionMilliseconds: Int64
    /// How long an idle producer is remembered.
    package var producerMilliseconds: Int64

    package init(
        segmentBytes: Int = 1 << 30,
        segmentMilliseconds: Int64 = 604_800_000,
        indexIntervalBytes: Int = 4096,
        indexBytes: Int = 10 << 20,
        retentionBytes: Int64 = -1,
        retentionMilliseconds: Int64 = 604_800_000,
        producerMilliseconds: Int64 = 86_400_000
    ) {
        self.segmentBytes = segmentBytes
        self.segmentMilliseconds = segmentMilliseconds
        self.indexIntervalBytes = indexIntervalBytes
        self.indexBytes = indexBytes
        self.retentionBytes = retentionBytes
        self.retentionMilliseconds = retentionMilliseconds
        self.producerMilliseconds = producerMilliseconds
    }
}
