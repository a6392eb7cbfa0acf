/// The progress of every replica of the membership, sorted by id.
struct ProgressTable {
    private(set) var replicas: [Progress] = []

    func place(of id: ReplicaID) -> Int? {
        for place in replicas.indices where replicas[place].id >= id {
            return replicas[place].id == id ? place : nil
        }
        return nil
    }

    subscript(place: Int) -> Progress {
        get { replicas[place] }
        _modify { yield &replicas[place] }
    }

    func of(_ id: ReplicaID) -> Progress? { place(of: id).map { replicas[$0] } }

    func match(of id: ReplicaID) -> LogIndex? { place(of: id).map { replicas[$0].match } }

    /// Follows a membership: new replicas start unknown at `next`, gone ones are forgotten.
    mutating func follow(_ membership: Membership, next: LogIndex, window: InflightWindow) {
        var replicas: [Progress] = []
        for id in membership.members {
            var progress =
                of(id) ?? Progress(id: id, isLearner: false, next: next, window: window)
            progress.isLearner = !membership.isVoter(id)
            replicas.append(progress)
        }
        self.replicas = replicas
    }
}
