/// The cluster's metadata to a node's handlers, wherever its leader is.
package protocol MetadataStore: Sendable {
    /// What is committed and applied on this node; it may lag behind the leader's.
    var image: MetadataImage { get }

    /// Has the leader decide and commit a command; returns once this node's image holds it.
    ///
    /// - Throws: When the outcome is not known: sent again as a retry, the command is done once.
    func write(_ command: MetadataCommand) async throws(MetadataProblem) -> MetadataAnswer

    /// An image that holds everything acknowledged before the call.
    func linearizableImage() async throws(MetadataProblem) -> MetadataImage
}
