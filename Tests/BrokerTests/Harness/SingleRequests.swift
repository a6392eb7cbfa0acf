import Bytes
import KafkaMessages
import KafkaProtocol

extension ProduceRequest {
    /// One batch of one record.
    init(_ value: ByteSlice, to topic: String, _ partition: Int32) {
        var builder = RecordBatchBuilder(baseTimestamp: 1_700_000_000_000)
        builder.append(key: nil, value: value)
        var data = ProduceRequest.PartitionProduceData()
        data.index = partition
        data.records = ByteRope(builder.finish().bytes)
        var entry = ProduceRequest.TopicProduceData()
        entry.name = topic
        entry.partitionData = [data]
        self.init()
        acks = -1
        timeoutMs = 30_000
        topicData = [entry]
    }
}

extension FetchRequest {
    /// What one partition has from an offset on.
    init(_ topic: String, _ partition: Int32, from offset: Int64) {
        var part = FetchRequest.FetchPartition()
        part.partition = partition
        part.fetchOffset = offset
        part.partitionMaxBytes = 1 << 20
        var entry = FetchRequest.FetchTopic()
        entry.topic = topic
        entry.partitions = [part]
        self.init()
        topics = [entry]
    }
}
