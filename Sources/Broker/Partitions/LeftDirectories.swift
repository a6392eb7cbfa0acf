import KafkaProtocol
import LogStorage
import Platform

/// Directories that partitions left behind: of a topic deleted while the node was down, or of a
/// removal that a crash cut short.
extension PartitionShard {
    /// The partitions that have a directory here, whether they run or not.
    func directories() async -> [TopicPartition] {
        let environment = environment
        return await environment.segmentWriter.run {
            let topics = environment.dataDirectory + "/topics"
            guard environment.files.exists(topics),
                let names = try? environment.files.list(topics)
            else { return [] }
            return names.compactMap { name in
                guard let id = TopicPartition(directory: name) else { return nil }
                return environment.directory(of: id).isClaimed ? id : nil
            }
        }
    }

    /// Removes the directory of a partition that does not run here.
    func removeLeft(_ id: TopicPartition) async {
        guard partitions[id] == nil else { return }
        environment.log.info(
            "files of a partition that is not on this node any more are removed",
            ["partition": "\(id)"]
        )
        await removeFiles(of: id)
    }
}

extension TopicPartition {
    /// By the name of its directory, the topic's and its number.
    init?(directory name: String) {
        guard let dash = name.lastIndex(of: "-"), dash != name.startIndex,
            let number = Int32(name[name.index(after: dash)...]), number >= 0,
            "\(name[..<dash])-\(number)" == name
        else { return nil }
        self.init(topic: String(name[..<dash]), partition: number)
    }
}
