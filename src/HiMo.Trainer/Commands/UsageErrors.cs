// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.CommandLine.Parsing;

namespace HiMo.Trainer;

/// <summary>Says in one line what is wrong with a call, and what was probably meant.</summary>
internal static class UsageErrors
{
    /// <summary>The first mistake, or null if the call is right or asks for help.</summary>
    /// <param name="parse">What the parser understood.</param>
    /// <param name="arguments">What was typed.</param>
    public static string? Find(ParseResult parse, string[] arguments)
    {
        Command command = parse.CommandResult.Command;
        string path = HelpPage.PathOf(parse.CommandResult);
        string help = $"; see {path} --help";

        if (command.Subcommands.Count > 0 && parse.UnmatchedTokens.FirstOrDefault(token => !token.StartsWith('-')) is { } word)
        {
            return $"{path} has no command {word}; the nearest is {NearestName.Find(word, command.Subcommands.Select(child => child.Name))}{help}";
        }

        // Looked for in what was typed, because a command that takes files would take an unknown option for one.
        List<string> options = [.. OptionsOf(parse.CommandResult).SelectMany(option => option.Aliases.Prepend(option.Name)).Distinct()];
        string? unknown = arguments.TakeWhile(argument => argument != "--")
            .Select(argument => argument.Split('=', ':')[0])
            .FirstOrDefault(name => name.StartsWith("--", StringComparison.Ordinal) && !options.Contains(name));
        if (unknown is not null)
        {
            string? nearest = NearestName.Find(unknown, options.Where(option => option.StartsWith("--", StringComparison.Ordinal)));
            return $"{path} has no option {unknown}; the nearest is {nearest}{help}";
        }

        if (parse.UnmatchedTokens is [{ } extra, ..])
        {
            return $"{path}: unexpected argument {extra}{help}";
        }

        return parse.Errors switch
        {
            _ when parse.Action is HelpPage => null, // help is there for those who do not know what is missing
            [] => null,
            [{ SymbolResult: CommandResult }, ..] when command.Subcommands.Count > 0 =>
                $"{path} needs one of its commands: {string.Join(", ", command.Subcommands.Select(child => child.Name))}{help}",
            [{ } mistake, ..] => $"{path}: {Describe(mistake)}{help}",
        };
    }

    private static IEnumerable<Option> OptionsOf(CommandResult result)
    {
        IEnumerable<Option> options = result.Command.Options;
        for (SymbolResult? parent = result.Parent; parent is not null; parent = parent.Parent)
        {
            options = options.Concat(((CommandResult)parent).Command.Options.Where(option => option.Recursive));
        }

        return options;
    }

    private static string Describe(ParseError mistake)
    {
        SymbolResult? owner = mistake.SymbolResult is ArgumentResult argument ? argument.Parent : mistake.SymbolResult;
        if (owner is OptionResult { Tokens: [{ } token, ..] } option && mistake.Message.StartsWith("Cannot parse", StringComparison.Ordinal))
        {
            return $"{option.Option.Name} must be {KindOf(option.Option.ValueType)}, not '{token.Value}'";
        }

        return mistake.Message.TrimEnd('.');
    }

    private static string KindOf(Type type) => (Nullable.GetUnderlyingType(type) ?? type) switch
    {
        Type t when t == typeof(int) || t == typeof(long) => "a whole number",
        Type t when t == typeof(double) || t == typeof(float) => "a number",
        Type t => $"a {t.Name}",
    };
}
