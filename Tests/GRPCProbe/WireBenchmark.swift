enum WireBenchmark {
    static func run() async throws {}
}
