"""Watches every node of a cluster all the while: who says that it leads, and how far it is."""

import threading


class Observer:
    """Writes down `leader` and `watermark` events; the checker judges them."""

    PERIOD = 0.1

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
        led, marks = set(), {}
        while not self.stopping.wait(self.PERIOD):
            if not node.is_up:
                continue
            incarnation = node.incarnation
            try:
                known = node.ask_json("/admin/cluster/partitions", seconds=2)["partitions"]
            except Exception:
                # It is being killed, cut off or starting: there is nothing to see.
                continue
            if incarnation != node.incarnation:
                continue
            for partition in known:
                place = (partition["topic"], partition["partition"])
                leads = (place, partition["leader_epoch"])
                if partition["leader"] == node.number and leads not in led:
                    led.add(leads)
                    self.history.add("leader", node=node.number, topic=place[0],
                                     partition=place[1], epoch=partition["leader_epoch"])
                low, high = partition["log_start_offset"], partition["high_watermark"]
                mark = (incarnation, low, high)
                if high is not None and marks.get(place) != mark:
                    marks[place] = mark
                    self.history.add("watermark", process=f"observer-{node.number}",
                                     node=node.number, incarnation=incarnation, topic=place[0],
                                     partition=place[1], low=low, high=high)
