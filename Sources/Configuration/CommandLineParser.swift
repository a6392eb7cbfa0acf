import Platform

/// Turns arguments and environment into what the server is to do.
package struct CommandLineParser {
    /// What the program was asked for.
    package enum Invocation: Sendable {
        /// Run a node of its own; the warnings are to be logged once logging is set up.
        case standalone(ServerConfiguration, warnings: [String])
        /// Run a node of a cluster.
        case cluster(ClusterConfiguration, warnings: [String])
        /// Print this to standard output and exit with 0.
        case print(String)
    }

    struct GivenOption {
        let name: String
        let setting: Setting
        let value: String
    }

    static let fileVariable = "CHRONIK_CONFIG"
    static let program = "chronik-server"
    static let commands = ["standalone", "cluster", "start"]
    /// Options that are not settings.
    static let ownOptions = [
        "--config", "--set", "--help", "--version", "--config-check", "--config-reference",
    ]

    private let version: String
    private let environment: [String: String]
    private let readFile: (String) throws(ConfigurationError) -> String
    private var options: [GivenOption] = []
    private var file: String?
    private var problems: [String] = []
    private var command: String?
    private var isCheck = false
    private var answer: String?

    private init(
        version: String,
        environment: [String: String],
        readFile: @escaping (String) throws(ConfigurationError) -> String
    ) {
        self.version = version
        self.environment = environment
        self.readFile = readFile
        file = environment[Self.fileVariable]
    }

    /// Reads `arguments`, which do not include the program's name.
    package static func parse(
        arguments: [String],
        environment: [String: String],
        version: String
    ) throws(ConfigurationError) -> Invocation {
        try parse(
            arguments: arguments,
            environment: environment,
            version: version,
            readFile: { (path) throws(ConfigurationError) in try TOMLFile.read(path) }
        )
    }

    static func parse(
        arguments: [String],
        environment: [String: String],
        version: String,
        readFile: @escaping (String) throws(ConfigurationError) -> String
    ) throws(ConfigurationError) -> Invocation {
        var parser = CommandLineParser(
            version: version,
            environment: environment,
            readFile: readFile
        )
        parser.read(arguments)
        return try parser.result()
    }

    // MARK: Arguments

    private mutating func read(_ arguments: [String]) {
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if !argument.hasPrefix("-") {
                readCommand(argument)
                continue
            }
            let parts = argument.split(
                separator: "=",
                maxSplits: 1,
                omittingEmptySubsequences: false
            )
            let value = parts.count == 2 ? String(parts[1]) : nil
            readOption(String(parts[0]), value, &rest)
        }
    }

    private mutating func readCommand(_ name: String) {
        if command != nil {
            problems.append("unexpected argument \(name)")
        } else if Self.commands.contains(name) {
            command = name
        } else {
            command = name
            let near = Spelling.suggestion(for: name, among: Self.commands)
            problems.append("unknown command \(name)\(near)")
        }
    }

    private mutating func readOption(
        _ name: String,
        _ value: String?,
        _ rest: inout ArraySlice<String>
    ) {
        switch name {
        case "--help", "-h": answer = HelpText.help(command: command)
        case "--version", "-V": answer = "\(Self.program) \(version)\n"
        case "--config-reference": answer = HelpText.reference()
        case "--config-check": isCheck = true
        case "--config":
            if let path = value ?? takeValue(of: name, "FILE", &rest) { file = path }
        case "--set":
            if let pair = value ?? takeValue(of: name, "KEY=VALUE", &rest) { readPair(pair) }
        default:
            guard let setting = Self.settings[name] else {
                let known = Self.ownOptions + Self.settings.keys.sorted()
                problems.append(
                    "unknown flag \(name)\(Spelling.suggestion(for: name, among: known))"
                )
                return
            }
            readSetting(setting, name, value, &rest)
        }
    }

    private static let settings = Dictionary(
        uniqueKeysWithValues: ServerSettings.all.flatMap { setting in
            ([setting.option] + setting.otherOptions).map { ($0, setting) }
        }
    )

    private mutating func readSetting(
        _ setting: Setting,
        _ name: String,
        _ value: String?,
        _ rest: inout ArraySlice<String>
    ) {
        var value = value
        if value == nil && setting.isFlag {
            // The option alone says true; a word that is no boolean is not its value.
            let follows = rest.first.flatMap { Bool($0) } != nil
            value = follows ? rest.popFirst() : "true"
        }
        guard let value = value ?? takeValue(of: name, setting.placeholder, &rest) else { return }
        options.append(GivenOption(name: name, setting: setting, value: value))
    }

    private mutating func readPair(_ pair: String) {
        let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            problems.append("--set \(pair): expected KEY=VALUE")
            return
        }
        let key = String(parts[0])
        guard let setting = ServerSettings.named(key) else {
            let near = Spelling.suggestion(for: key, among: ServerSettings.names)
            problems.append("--set \(pair): unknown setting \(key)\(near)")
            return
        }
        options.append(
            GivenOption(name: "--set \(key)", setting: setting, value: String(parts[1]))
        )
    }

    private mutating func takeValue(
        of name: String,
        _ placeholder: String,
        _ rest: inout ArraySlice<String>
    ) -> String? {
        guard let next = rest.first, !next.hasPrefix("--") else {
            problems.append("\(name) needs a value: \(name) \(placeholder)")
            return nil
        }
        rest.removeFirst()
        return next
    }

    // MARK: What follows

    private func result() throws(ConfigurationError) -> Invocation {
        if let answer { return .print(answer) }
        var problems = problems
        if command == nil && problems.isEmpty {
            problems.append(
                "no command given; expected \(Self.program) standalone, cluster or start, or --help"
            )
        }
        var layers = ConfigurationLayers()
        if let file {
            do {
                layers.apply(file: try TOMLFile(readFile(file), path: file), path: file)
            } catch {
                problems += error.problems
            }
        }
        layers.apply(environment: environment)
        for option in options { layers.apply(option: option) }
        problems += layers.problems
        guard problems.isEmpty else { throw ConfigurationError(problems) }
        let isCluster = command == "cluster" || (command == "start" && layers.namesNodes)
        return try isCluster ? cluster(layers) : standalone(layers)
    }

    private func standalone(_ given: ConfigurationLayers) throws(ConfigurationError) -> Invocation {
        var layers = given
        layers.refuseClusterSettings()
        layers.checkTogether()
        guard layers.problems.isEmpty else { throw ConfigurationError(layers.problems) }
        try checkFiles(layers.configuration)
        if isCheck {
            return .print(
                HelpText.effective(layers.configuration, layers.warnings, scopes: [.server])
            )
        }
        return .standalone(layers.configuration, warnings: layers.warnings)
    }

    private func cluster(_ given: ConfigurationLayers) throws(ConfigurationError) -> Invocation {
        var resolution = ClusterResolution(given.configuration, given.nodes)
        let resolved = resolution.resolve()
        var layers = given
        layers.replace(resolution.configuration)
        layers.checkTogether()
        let problems = resolution.problems + layers.problems
        guard let resolved, problems.isEmpty else { throw ConfigurationError(problems) }
        try checkFiles(layers.configuration)
        let warnings = layers.warnings + resolution.warnings
        if isCheck {
            let text = HelpText.effective(
                layers.configuration,
                warnings,
                scopes: [.server, .cluster]
            )
            return .print(text + HelpText.nodes(resolved, given.nodes))
        }
        return .cluster(resolved, warnings: warnings)
    }

    /// Files that a start would read, before anything is started.
    private func checkFiles(_ configuration: ServerConfiguration) throws(ConfigurationError) {
        var problems: [String] = []
        do {
            _ = try configuration.readAdminToken(readFile)
        } catch {
            problems += error.problems
        }
        let files = [
            ("raft.tls.cert.file", configuration.cluster.tlsCertificateFile),
            ("raft.tls.key.file", configuration.cluster.tlsKeyFile),
            ("raft.tls.ca.file", configuration.cluster.tlsAuthorityFile),
        ]
        for case (let key, let path?) in files {
            do {
                _ = try readFile(path)
            } catch {
                problems.append("\(key): \(error.message)")
            }
        }
        guard problems.isEmpty else { throw ConfigurationError(problems) }
    }
}
