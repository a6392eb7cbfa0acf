"""Watches every node of a cluster all the while: who says that it leads, and how far it is."""

import threading

from kafka_wire import ReplicaReader


class Observer:
    """Writes down `leader` and `watermark` events; the checker judges them."""

    PERIOD = 0.1
    PATIENCE = 2

    def __init__(self, cluster, history):
        self.cluster, self.history = cluster, history
        self.stopping = threading.Event()
        self.threads = []

    def start(self):
        for node in self.cluster.nodes:
            thread = threading.Thread(target=self.watch, args=[node], daemon=True)
            thread.start()
            self.threads.append(thread)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.threads = []

    def watch(self, node):
        seen = set()
        while not self.stopping.wait(self.PERIOD):
            if not node.is_up:
                continue
            incarnation = node.incarnation
            try:
                with ReplicaReader(node.address, self.PATIENCE) as reader:
                    while not self.stopping.wait(self.PERIOD):
                        self.look(node, incarnation, reader, seen)
            except Exception:
                # It is being killed, cut off or starting: there is nothing to see.
                continue

    def look(self, node, incarnation, reader, seen):
        for (topic, partition), known in reader.metadata().partitions.items():
            # Those of topics that tests make, not what clients keep in the cluster.
            if topic.startswith("__"):
                continue
            place = {"node": node.number, "topic": topic, "partition": partition}
            if known.leader == node.number and (topic, partition, known.epoch) not in seen:
                seen.add((topic, partition, known.epoch))
                self.history.add("leader", epoch=known.epoch, **place)
            error, low, high = reader.watermarks(topic, partition)
            mark = (incarnation, topic, partition, low, high)
            if not error and mark not in seen:
                seen.add(mark)
                self.history.add("watermark", process=f"observer-{node.number}", low=low,
                                 high=high, incarnation=incarnation, **place)
