// swift-tools-version: 6.2
import PackageDescription

// A package of somebody else's: all it has of Chronik is the product Raft.
let package = Package(
    name: "embedding-probe",
    dependencies: [.package(name: "chronik", path: "../..")],
    targets: [
        .executableTarget(
            name: "embedding-probe",
            dependencies: [.product(name: "Raft", package: "chronik")]
        )
    ]
)
