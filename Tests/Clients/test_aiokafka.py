"""aiokafka: asyncio clients."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_idempotent_produce_and_group_consume(broker, topic, codec):
    async def scenario():
        producer = AIOKafkaProducer(
            bootstrap_servers=broker.address, enable_idempotence=True, compression_type=codec
        )
        await producer.start()
        sent = [f"{n}".encode() for n in range(300)]
        for value in sent:
            await producer.send(topic, value, key=value, headers=[("h", value)])
        await producer.flush()
        await producer.stop()
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.address,
            group_id=f"g-{topic}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        found = []
        while len(found) < len(sent):
            found.append(await asyncio.wait_for(consumer.getone(), 30))
        await consumer.commit()
        await consumer.stop()
        return sent, found

    sent, found = asyncio.run(scenario())
    assert [m.value for m in found] == sent
    assert [m.offset for m in found] == list(range(300))
    assert all(m.headers == (("h", m.value),) for m in found)
