import Testing

@testable import ClusterSimulation
