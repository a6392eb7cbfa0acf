/// Mistakes that can be made on purpose, to see that they are found.
package enum PlantedClusterBug: String, Sendable, CaseIterable {
    /// Disks say that they have written what they have not.
    case lyingSync = "lying-sync"

    /// Whether this build has it.
    package var isAvailable: Bool { true }
}
