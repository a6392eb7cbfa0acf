// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

/// A library module of ours; the build's import check holds it to the modules named here.
func module(_ name: String, _ imports: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: imports, swiftSettings: strict)
}

func program(_ name: String, _ imports: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: imports, swiftSettings: strict)
}

func tests(_ name: String, _ imports: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: imports, swiftSettings: strict)
}

func systemLibrary(_ name: String, apt: String) -> Target {
    .systemLibrary(name: name, path: "Sources/C/\(name)", providers: [.apt([apt])])
}

/// A libFuzzer program, of which ordinary builds know nothing: `scripts/fuzz` sets the variable.
func fuzzer(_ name: String, path: String, _ imports: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name,
        dependencies: imports,
        path: "Tests/Fuzz/\(path)",
        exclude: ["seeds"],
        swiftSettings: strict
    )
}

let package = Package(
    name: "chronik",
    products: [
        .library(name: "Raft", targets: ["Raft", "RaftRuntime", "RaftTransport", "Bytes"]),
        .library(name: "RaftTesting", targets: ["RaftTesting"]),
        .executable(name: "chronik-server", targets: ["chronik-server"]),
        .executable(name: "chronik-bench", targets: ["chronik-bench"]),
        .executable(name: "chronik-sim", targets: ["chronik-sim"]),
        .executable(name: "kafka-codegen", targets: ["kafka-codegen"]),
    ],
    targets: [
        systemLibrary("CLibUV", apt: "libuv1-dev"),
        systemLibrary("CISAL", apt: "libisal-dev"),
        systemLibrary("CMicroHTTPD", apt: "libmicrohttpd-dev"),
        .target(name: "CGRPC", path: "Sources/C/CGRPC"),
        systemLibrary("COpenSSL", apt: "libssl-dev"),
        .target(name: "CLinux", path: "Sources/C/CLinux"),
        .target(name: "CTOML", path: "Sources/C/CTOML"),

        module("Bytes"),
        module("Platform", ["Bytes", "CLibUV", "CISAL", "CLinux"]),
        module("KafkaMessages", ["Bytes"]),
        module("KafkaProtocol", ["Bytes", "Platform", "KafkaMessages"]),
        module("Raft"),
        module("RaftScript", ["Raft"]),
        module("RaftSimulation", ["Raft"]),
        module("WriteAheadLog", ["Bytes", "Platform"]),
        module("RaftRuntime", ["Bytes", "Platform", "Raft", "WriteAheadLog"]),
        module("RaftTransport", ["Bytes", "Platform", "Raft", "RaftRuntime"]),
        module("RaftGRPC", ["Bytes", "Platform", "Raft", "RaftRuntime", "CGRPC"]),
        module("TLS", ["Bytes", "Platform", "Raft", "RaftTransport", "COpenSSL"]),
        module("LogStorage", ["Bytes", "Platform", "KafkaProtocol"]),
        module("ClusterMetadata", ["Bytes", "Platform", "KafkaMessages", "KafkaProtocol"]),
        module("Coordinators", ["Bytes", "KafkaMessages", "KafkaProtocol", "ClusterMetadata"]),
        module(
            "Broker",
            [
                "Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "Raft", "WriteAheadLog",
                "RaftRuntime", "RaftTransport", "LogStorage", "ClusterMetadata", "Coordinators",
                "Admin",
            ]
        ),
        module("Admin", ["Platform"]),
        module("AdminHTTP", ["Platform", "Admin", "CMicroHTTPD"]),
        module("Simulator", ["Bytes", "Platform"]),
        module(
            "RaftTesting",
            ["Bytes", "Platform", "Raft", "RaftRuntime", "RaftTransport", "Simulator"]
        ),
        module("KafkaHistory", ["Bytes", "Platform", "KafkaProtocol"]),
        module(
            "ClusterSimulation",
            [
                "Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "Raft", "WriteAheadLog",
                "RaftRuntime", "ClusterMetadata", "Coordinators", "Broker", "Simulator",
                "KafkaHistory",
            ]
        ),
        module("Configuration", ["Platform", "CTOML"]),

        program(
            "chronik-server",
            [
                "Bytes", "Platform", "Admin", "AdminHTTP", "Broker", "ClusterMetadata",
                "Configuration", "Coordinators", "KafkaMessages", "KafkaProtocol", "Raft",
                "RaftGRPC", "RaftRuntime", "RaftTransport", "TLS", "WriteAheadLog",
            ]
        ),
        program(
            "chronik-bench",
            [
                "Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "Raft", "WriteAheadLog",
                "RaftGRPC", "RaftRuntime", "RaftTransport",
            ]
        ),
        program(
            "chronik-sim",
            ["RaftScript", "RaftSimulation", "Platform", "KafkaHistory", "ClusterSimulation"]
        ),
        program("kafka-codegen", []),
        .executableTarget(
            name: "codec-probe",
            dependencies: ["Bytes", "KafkaMessages"],
            path: "Tests/CodecProbe",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "replicated-kv",
            dependencies: ["Bytes", "Raft", "RaftRuntime", "RaftTransport"],
            path: "Examples/ReplicatedKV",
            swiftSettings: strict
        ),
        .executableTarget(
            name: "grpc-probe",
            dependencies: [
                "Bytes", "Platform", "Raft", "WriteAheadLog", "RaftRuntime", "RaftGRPC",
            ],
            path: "Tests/GRPCProbe",
            swiftSettings: strict
        ),

        tests("BytesTests", ["Bytes"]),
        tests("PlatformTests", ["Bytes", "Platform", "Simulator"]),
        tests("KafkaMessagesTests", ["Bytes", "KafkaMessages"]),
        tests("KafkaProtocolTests", ["Bytes", "Platform", "KafkaMessages", "KafkaProtocol"]),
        tests("RaftTests", ["Raft", "RaftScript"]),
        tests("RaftSimulationTests", ["RaftSimulation", "ClusterSimulation", "chronik-sim"]),
        tests("WriteAheadLogTests", ["Bytes", "Platform", "WriteAheadLog", "Simulator"]),
        tests(
            "RaftRuntimeTests",
            ["Bytes", "Platform", "Raft", "WriteAheadLog", "RaftRuntime", "Simulator"]
        ),
        tests(
            "RaftTransportTests",
            ["Bytes", "Platform", "Raft", "RaftRuntime", "RaftTransport", "Simulator"]
        ),
        tests(
            "RaftHostTests",
            [
                "Bytes", "Platform", "Raft", "RaftRuntime", "RaftTransport", "RaftTesting",
                "Simulator", "replicated-kv",
            ]
        ),
        tests(
            "RaftGRPCTests",
            ["Bytes", "Platform", "Raft", "RaftRuntime", "RaftGRPC", "grpc-probe"]
        ),
        tests(
            "TLSTests",
            ["Bytes", "Platform", "Raft", "RaftRuntime", "RaftTransport", "TLS", "COpenSSL"]
        ),
        tests(
            "LogStorageTests",
            ["Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "LogStorage", "Simulator"]
        ),
        tests(
            "ClusterMetadataTests",
            ["Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "ClusterMetadata"]
        ),
        tests(
            "CoordinatorsTests",
            ["Bytes", "KafkaMessages", "KafkaProtocol", "ClusterMetadata", "Coordinators"]
        ),
        tests(
            "BrokerTests",
            [
                "Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "Raft", "WriteAheadLog",
                "RaftRuntime", "LogStorage", "ClusterMetadata", "Coordinators", "Broker",
                "Simulator", "Admin",
            ]
        ),
        tests(
            "SimulatorTests",
            [
                "Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "WriteAheadLog",
                "Coordinators", "Broker", "Simulator",
            ]
        ),
        tests("KafkaHistoryTests", ["Bytes", "Platform", "KafkaProtocol", "KafkaHistory"]),
        tests(
            "ClusterSimulationTests",
            ["Platform", "KafkaHistory", "Simulator", "ClusterSimulation"]
        ),
        tests("ConfigurationTests", ["Platform", "Configuration"]),
        tests("AdminTests", ["Bytes", "Platform", "Admin", "AdminHTTP"]),
        tests(
            "BenchTests",
            ["Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "chronik-bench"]
        ),
    ],
    cxxLanguageStandard: .cxx17
)

if Context.environment["CHRONIK_FUZZ"] != nil {
    package.targets += [
        .target(
            name: "FuzzDriver",
            dependencies: ["Bytes"],
            path: "Tests/Fuzz/Driver",
            swiftSettings: strict
        ),
        fuzzer(
            "fuzz-requests",
            path: "Requests",
            ["Bytes", "Platform", "KafkaMessages", "KafkaProtocol", "Broker", "FuzzDriver"]
        ),
        fuzzer(
            "fuzz-batches",
            path: "Batches",
            ["Bytes", "Platform", "KafkaProtocol", "FuzzDriver"]
        ),
        fuzzer(
            "fuzz-groups",
            path: "Groups",
            ["Bytes", "KafkaMessages", "KafkaProtocol", "Coordinators", "FuzzDriver"]
        ),
        fuzzer(
            "fuzz-frames",
            path: "Frames",
            ["Bytes", "Raft", "RaftRuntime", "RaftTransport", "FuzzDriver"]
        ),
        fuzzer("fuzz-log", path: "Log", ["Bytes", "Platform", "WriteAheadLog", "FuzzDriver"]),
    ]
}
