import KafkaProtocol
import Platform

/// Decisions of a leader ahead of their commits: as many as come, none waiting for another.
///
/// Holds two images. `committed` is what the log's applied records made; readers see it. `decided`
/// has the records under way on top, and is what the next decision is made on. A leader appends
/// nothing to the metadata's log but these records, in this order, so that what is applied in its
/// term is what was decided first.
///
///     following --begin--> leading --end--> following (all under way is lost or unknown)
///     leading: decide appends, replay of a committed record settles, withdraw takes back
///
/// Positions count records since the term began; a decision is settled once so many are applied.
package struct DecisionPipeline: Sendable {
    /// Where a decision stands among those of a term.
    package struct Ticket: Sendable, Equatable {
        package let term: UInt64
        /// Records applied in the term once the decision, and all it was made on, is committed.
        package let position: UInt64
    }

    /// A decision that counts once its ticket is settled.
    ///
    /// One without records waits too: it may rest on records that come to nothing.
    package struct Pending<Answer> {
        package let ticket: Ticket
        package let records: [MetadataRecord]
        package let result: Result<Answer, MetadataProblem>
        fileprivate let before: MetadataImage
        fileprivate let positionBefore: UInt64
    }

    package enum State: Sendable, Equatable {
        case waiting
        case committed
        /// Leadership was lost first: the outcome is not known here.
        case lost
    }

    private var controller: MetadataController
    package private(set) var committed: MetadataImage
    private var term: UInt64?
    private var decidedPosition: UInt64 = 0
    private var appliedPosition: UInt64 = 0
    /// At most so many records are under way.
    private let limit: Int

    package init(
        settings: MetadataController.Settings,
        committed: MetadataImage = MetadataImage(),
        limit: Int = 100_000
    ) {
        controller = MetadataController(settings: settings, committed: committed)
        self.committed = committed
        self.limit = limit
    }

    package var decided: MetadataImage { controller.decided }
    package var isLeading: Bool { term != nil }
    package var recordsUnderWay: Int { Int(decidedPosition - appliedPosition) }

    /// Leads from now on.
    ///
    /// A precondition: an entry of this term is applied, so that all of earlier leaders is in
    /// `committed`.
    package mutating func begin(term: UInt64) {
        self.term = term
        decidedPosition = 0
        appliedPosition = 0
        controller.reset(to: committed)
    }

    /// Leads no longer: what is under way may be committed or not, and is decided on no more.
    package mutating func end() {
        if decidedPosition > appliedPosition { CoverageMark.decisionsForgotten.hit() }
        term = nil
        controller.reset(to: committed)
    }

    /// A snapshot of another leader takes the place of everything.
    package mutating func restore(_ image: MetadataImage) {
        precondition(term == nil, "a leader of term \(term ?? 0) was given a snapshot")
        CoverageMark.metadataRestored.hit()
        committed = image
        controller.reset(to: image)
    }

    /// Decides on top of everything decided before.
    ///
    /// The records are to be appended to the log in the order of decisions, before the next
    /// decision is made, or to be withdrawn.
    ///
    /// - Throws: When this node does not lead, or has too much under way.
    package mutating func decide<Answer>(
        _ decide: (inout MetadataController) throws(MetadataProblem) -> Decision<Answer>
    ) throws(MetadataProblem) -> Pending<Answer> {
        guard let term else {
            throw .init(.notController, "this node does not lead the metadata")
        }
        guard recordsUnderWay < limit else {
            throw .init(
                .throttlingQuotaExceeded,
                "\(recordsUnderWay) records of metadata are under way; the limit is \(limit)"
            )
        }
        let before = controller.decided
        let positionBefore = decidedPosition
        var records: [MetadataRecord] = []
        let result: Result<Answer, MetadataProblem>
        do {
            let decision = try decide(&controller)
            records = decision.records
            result = .success(decision.answer)
        } catch {
            result = .failure(error)
        }
        decidedPosition += UInt64(records.count)
        return Pending(
            ticket: Ticket(term: term, position: decidedPosition),
            records: records,
            result: result,
            before: before,
            positionBefore: positionBefore
        )
    }

    /// Takes back the decision made last: the log did not take its records.
    package mutating func withdraw<Answer>(_ pending: Pending<Answer>) {
        guard pending.ticket.term == term else { return }
        precondition(
            pending.ticket.position == decidedPosition,
            "withdrew position \(pending.ticket.position) under \(decidedPosition)"
        )
        precondition(
            pending.positionBefore >= appliedPosition,
            "withdrew position \(pending.ticket.position), applied is \(appliedPosition)"
        )
        controller.reset(to: pending.before)
        decidedPosition = pending.positionBefore
    }

    /// A batch of committed records.
    package mutating func replay(_ records: [MetadataRecord]) {
        for record in records { committed.replay(record) }
        guard term != nil else { return controller.reset(to: committed) }
        appliedPosition += UInt64(records.count)
        precondition(
            appliedPosition <= decidedPosition,
            "applied \(appliedPosition) records of a term in which \(decidedPosition) were decided"
        )
        // Equal now; the one built while records were under way shares less.
        if appliedPosition == decidedPosition { controller.reset(to: committed) }
    }

    package func state(of ticket: Ticket) -> State {
        if ticket.term == term { return ticket.position <= appliedPosition ? .committed : .waiting }
        return .lost
    }
}

extension DecisionPipeline.Pending: Sendable where Answer: Sendable {}
