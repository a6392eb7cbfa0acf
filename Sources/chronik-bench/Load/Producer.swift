import KafkaProtocol
import Platform

/// One producer: a connection, its requests in flight, and what it may still send.
final class Producer {
    struct InFlight {
        let correlationID: Int32
        let partition: Int
        /// When it left, or was meant to.
        let departure: Int64
    }

    /// Place among all producers, from 0.
    let number: Int
    let connection: BrokerConnection
    let template: ProduceTemplate
    let version: Int16
    private let partitions: [Int32]
    private var sequences: [Int32]
    private let producerID: Int64
    private let producerEpoch: Int16

    private(set) var sentRequests = 0
    /// Oldest first, as the answers come.
    var inFlight: [InFlight] = []
    var isDone = false
    private var waiting: UnsafeContinuation<Void, Never>?

    init(
        number: Int,
        connection: BrokerConnection,
        template: ProduceTemplate,
        version: Int16,
        partitions: [Int32],
        producer: (id: Int64, epoch: Int16)
    ) {
        self.number = number
        self.connection = connection
        self.template = template
        self.version = version
        self.partitions = partitions
        sequences = Array(repeating: 0, count: partitions.count)
        (producerID, producerEpoch) = producer
    }

    /// Makes the template the next request; partitions take turns.
    func prepareNext(departure: Int64, wallMilliseconds: Int64) -> InFlight {
        // Producers start at different partitions, so that few requests spread well too.
        let partition = (sentRequests + number) % partitions.count
        var variables = ProduceTemplate.Variables(
            correlationID: Int32(truncatingIfNeeded: sentRequests),
            partition: partitions[partition],
            wallMilliseconds: wallMilliseconds,
            departure: departure
        )
        if producerID >= 0 {
            variables.producerID = producerID
            variables.producerEpoch = producerEpoch
            variables.baseSequence = sequences[partition]
            sequences[partition] = RecordBatch.sequence(
                sequences[partition],
                plus: Int32(template.records)
            )
        }
        template.prepare(variables)
        sentRequests += 1
        return InFlight(
            correlationID: variables.correlationID,
            partition: partition,
            departure: departure
        )
    }

    /// Waits until fewer than `limit` requests are in flight or the connection has ended.
    func waitForSlot(limit: Int) async {
        while inFlight.count >= limit && !isDone {
            precondition(waiting == nil, "two senders of producer \(number)")
            await withUnsafeContinuation { waiting = $0 }
        }
    }

    func freedSlot() {
        guard let waiting else { return }
        self.waiting = nil
        waiting.resume()
    }
}
