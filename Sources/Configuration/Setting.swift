/// One thing that can be set: its key, its type, what it means and where its value lies.
///
/// File, environment, command line, help and reference are all read off these declarations; the
/// default is what a new ``ServerConfiguration`` holds.
package struct Setting: Sendable {
    package let key: String
    /// Other names it goes by: Kafka's, where ours is another.
    package let aliases: [String]
    /// Options it is given by besides ``option``.
    package let otherOptions: [String]
    package let placeholder: String
    package let allowed: String
    package let help: String
    /// Whether the option alone, without a value, means `true`.
    package let isFlag: Bool
    /// The value as text, or `nil` when it has none.
    package let text: @Sendable (ServerConfiguration) -> String?
    /// The same with numbers bare, as Kafka's tools write them.
    package let plainText: @Sendable (ServerConfiguration) -> String?
    /// Sets the value; false when the text is not allowed.
    let set: @Sendable (inout ServerConfiguration, String) -> Bool

    init<Value: Sendable>(
        _ key: String,
        _ path: any WritableKeyPath<ServerConfiguration, Value> & Sendable,
        _ type: ValueType<Value>,
        aliases: [String] = [],
        otherOptions: [String] = [],
        _ help: String
    ) {
        self.init(
            key,
            type,
            aliases,
            otherOptions,
            help,
            get: { $0[keyPath: path] },
            set: { $0[keyPath: path] = $1 }
        )
    }

    /// A setting that has no value unless one is given.
    init<Value: Sendable>(
        _ key: String,
        optional path: any WritableKeyPath<ServerConfiguration, Value?> & Sendable,
        _ type: ValueType<Value>,
        aliases: [String] = [],
        otherOptions: [String] = [],
        _ help: String
    ) {
        self.init(
            key,
            type,
            aliases,
            otherOptions,
            help,
            get: { $0[keyPath: path] },
            set: { $0[keyPath: path] = $1 }
        )
    }

    private init<Value: Sendable>(
        _ key: String,
        _ type: ValueType<Value>,
        _ aliases: [String],
        _ otherOptions: [String],
        _ help: String,
        get: @escaping @Sendable (ServerConfiguration) -> Value?,
        set: @escaping @Sendable (inout ServerConfiguration, Value) -> Void
    ) {
        self.key = key
        self.aliases = aliases
        self.otherOptions = otherOptions
        self.help = help
        placeholder = type.placeholder
        allowed = type.allowed
        isFlag = Value.self == Bool.self
        text = { get($0).map(type.text) }
        plainText = { get($0).map(type.plain) }
        self.set = { configuration, text in
            guard let value = type.parse(text) else { return false }
            set(&configuration, value)
            return true
        }
    }

    package var option: String { "--" + key.split(separator: ".").joined(separator: "-") }

    package var environmentName: String {
        "CHRONIK_" + key.uppercased().split(separator: ".").joined(separator: "_")
    }

    package var defaultText: String? { text(ServerConfiguration()) }
}

/// Settings that belong together, under a heading.
package struct SettingGroup: Sendable {
    /// Who takes them.
    package enum Scope: Sendable { case server, cluster }

    package let heading: String
    package let scope: Scope
    package let settings: [Setting]

    init(heading: String, scope: Scope = .server, settings: [Setting]) {
        self.heading = heading
        self.scope = scope
        self.settings = settings
    }
}
