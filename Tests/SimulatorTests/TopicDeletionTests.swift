import Bytes
import KafkaMessages
import KafkaProtocol
import Platform
import Simulator
import Testing

extension Simulations {
    /// A topic that was deleted stays deleted, and one of its name begins anew.
    @Suite struct TopicDeletionTests {
        private static let name = "gone"

        @Test(arguments: 1...12)
        func `nothing of a deleted topic comes back in one of its name`(_ seed: UInt64) {
            let world = World(seed: seed, producers: 2)
            world.wantTopics(2)
            world.start()
            #expect(world.runToReady(), "seed \(seed)")
            #expect(Self.untilDone(world) { await Self.create($0) }, "seed \(seed)")
            for _ in 0..<5 {
                #expect(Self.untilDone(world) { await Self.produce($0) != nil }, "seed \(seed)")
            }
            // Long enough for segments and checkpoints of it.
            _ = world.run(for: .milliseconds(100))
            world.disk.changesUntilPowerCut = 1 + world.generator.below(40)
            _ = Self.untilDone(world) { await Self.delete($0) }
            _ = world.run(for: .milliseconds(100), until: { world.isOver })
            world.end(.powerCut)

            world.start()
            #expect(world.runToReady(), "seed \(seed)")
            #expect(Self.untilDone(world) { await Self.delete($0) }, "seed \(seed)")
            #expect(Self.untilDone(world) { await Self.create($0) }, "seed \(seed)")
            let offset = Holder<Int64>()
            let isProduced = Self.untilDone(world) {
                offset.value = await Self.produce($0)
                return offset.value != nil
            }
            #expect(isProduced, "seed \(seed)")
            #expect(offset.value == 0, "seed \(seed)")
            world.end(.powerCut)

            world.start()
            #expect(world.runToReady(), "seed \(seed)")
            let isProducedAgain = Self.untilDone(world) {
                offset.value = await Self.produce($0)
                return offset.value != nil
            }
            #expect(isProducedAgain, "seed \(seed)")
            #expect(offset.value == 1, "seed \(seed)")
            #expect(world.audit(), "seed \(seed)")
            #expect(world.ledger.violations == [], "seed \(seed)")
        }

        private final class Holder<Value>: @unchecked Sendable {
            // Unchecked: the simulation runs on one thread.
            var value: Value?
        }

        /// Tries over connections of its own until `attempt` succeeds; false when the power failed.
        private static func untilDone(
            _ world: World,
            _ attempt: @escaping @Sendable (WireClient) async -> Bool
        ) -> Bool {
            let isDone = Flag()
            // Whoever still tries when the power comes back would act in the next life.
            let isPast = Flag()
            defer { isPast.isSet = true }
            let loop = world.clients.loops[0]
            Task(executorPreference: loop) {
                while !world.isOver && !isPast.isSet {
                    if let client = try? await WireClient.connect(world.address, on: loop) {
                        isDone.isSet = await attempt(client)
                        client.close()
                        if isDone.isSet { return }
                    }
                    await loop.sleep(nanoseconds: .milliseconds(2))
                }
            }
            return world.run(for: .seconds(5)) { isDone.isSet || world.isOver } && isDone.isSet
        }

        private static func create(_ client: WireClient) async -> Bool {
            var topic = CreateTopicsRequest.CreatableTopic()
            topic.name = name
            topic.numPartitions = 1
            topic.replicationFactor = 1
            var request = CreateTopicsRequest()
            request.topics = [topic]
            let answer = try? await client.call(request, version: 5)
            let error = answer.flatMap { ErrorCode(rawValue: $0.topics[0].errorCode) }
            return error == ErrorCode.none || error == .topicAlreadyExists
        }

        private static func delete(_ client: WireClient) async -> Bool {
            var request = DeleteTopicsRequest()
            request.topicNames = [name]
            let answer = try? await client.call(request, version: 4)
            let error = answer.flatMap { ErrorCode(rawValue: $0.responses[0].errorCode) }
            return error == ErrorCode.none || error == .unknownTopicOrPartition
        }

        /// The offset of a record of its own.
        private static func produce(_ client: WireClient) async -> Int64? {
            var builder = RecordBatchBuilder(baseTimestamp: 1_750_000_000_000)
            builder.append(key: nil, value: ByteSlice([UInt8](repeating: 7, count: 3_000)))
            var part = ProduceRequest.PartitionProduceData()
            part.index = 0
            part.records = ByteRope(builder.finish().bytes)
            var topic = ProduceRequest.TopicProduceData()
            topic.name = name
            topic.partitionData = [part]
            var request = ProduceRequest()
            request.acks = -1
            request.timeoutMs = 10_000
            request.topicData = [topic]
            guard let answer = try? await client.call(request, version: 9),
                let result = answer.responses.first?.partitionResponses.first,
                result.errorCode == 0
            else { return nil }
            return result.baseOffset
        }
    }
}
