import ClusterMetadata
import KafkaProtocol

extension MetadataAnswer {
    /// Why it is not the answer that was hoped for.
    var problem: MetadataProblem {
        switch self {
        case .refused(let outcome): MetadataProblem(outcome)
        case .outcomes(let outcomes):
            MetadataProblem(outcomes.first { $0.code != .none } ?? .init(.unknownServerError))
        case .topics(let topics):
            MetadataProblem(
                topics.map(\.outcome).first { $0.code != .none } ?? .init(.unknownServerError)
            )
        default: MetadataProblem(.unknownServerError, "an answer to another question: \(self)")
        }
    }

    /// The one outcome of a command with one part.
    func requireDone() throws(MetadataProblem) {
        if case .outcomes(let outcomes) = self, outcomes.allSatisfy({ $0.code == .none }) { return }
        throw problem
    }
}

extension MetadataProblem {
    init(_ outcome: MetadataAnswer.Outcome) {
        self.init(outcome.code, outcome.message ?? "\(outcome.code)")
    }
}
