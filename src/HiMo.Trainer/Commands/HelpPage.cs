// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;

namespace HiMo.Trainer;

/// <summary>
/// What --help prints: for the program its commands in groups, each with an example; for one command its options and all its
/// examples. Lines are not wrapped to the terminal, so that examples can be copied.
/// </summary>
internal sealed class HelpPage : SynchronousCommandLineAction
{
    private const string Launcher = "./himo";

    /// <summary>A call that asks for help is never a mistake, whatever is missing.</summary>
    public override bool ClearsParseErrors => true;

    /// <summary>Makes this the help of a program, which is also shown when no command is named.</summary>
    /// <param name="root">The program.</param>
    public static void Use(RootCommand root)
    {
        HelpPage page = new();
        root.Options.OfType<HelpOption>().Single().Action = page;
        root.Action = page;
    }

    /// <summary>How a command is called, for example <c>./himo metrics himo</c>.</summary>
    /// <param name="result">The command within a parsed call.</param>
    public static string PathOf(CommandResult result) =>
        result.Parent is CommandResult parent ? $"{PathOf(parent)} {result.Command.Name}" : Launcher;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        TextWriter output = parseResult.InvocationConfiguration.Output;
        if (parseResult.CommandResult.Parent is null)
        {
            WriteProgram(output);
        }
        else
        {
            WriteCommand(parseResult.CommandResult, output);
        }

        return 0;
    }

    private static void WriteProgram(TextWriter output)
    {
        output.WriteLine(CommandLine.Summary);
        output.WriteLine();
        output.WriteLine($"Usage: {Launcher} COMMAND [options]");
        foreach (CommandGroup group in CommandLine.Groups)
        {
            output.WriteLine();
            output.WriteLine(group.Title);
            foreach (CommandEntry entry in group.Entries)
            {
                output.WriteLine($"  {entry.Command.Name,-12}{entry.Command.Description}");
                output.WriteLine($"              {entry.Examples[0]}");
            }
        }

        output.WriteLine();
        output.WriteLine($"{Launcher} COMMAND --help lists the options of a command, {Launcher} --version prints the version.");
    }

    private static void WriteCommand(CommandResult result, TextWriter output)
    {
        Command command = result.Command;
        string path = PathOf(result);
        output.WriteLine(command.Description);
        output.WriteLine();
        string arguments = string.Concat(command.Arguments.Select(argument => $" {Placeholder(argument)}"));
        output.WriteLine(command.Subcommands.Count > 0 ? $"Usage: {path} COMMAND [options]" : $"Usage: {path}{arguments} [options]");
        WriteTable("Commands", command.Subcommands.Select(child => (child.Name, child.Description ?? "")), output);
        WriteTable("Arguments", command.Arguments.Select(argument => (Placeholder(argument), argument.Description ?? "")), output);
        foreach (IGrouping<string, Option> group in command.Options.Append(CommandRunner.Verbose).Where(option => !option.Hidden).GroupBy(OptionGroup.Of))
        {
            WriteTable(group.Key, group.Select(Row), output);
        }

        // A subcommand shows those of its parent's examples that call it.
        string[] examples = [.. CommandLine.Groups.SelectMany(group => group.Entries).SelectMany(entry => entry.Examples)
            .Where(example => $"{example} ".Contains($"{path} ", StringComparison.Ordinal))];
        output.WriteLine();
        output.WriteLine(examples.Length > 1 ? "Examples" : "Example");
        foreach (string example in examples)
        {
            output.WriteLine($"  {example}");
        }

        WriteTable("Where the files come from", CommandLine.Origins.Where(origin => examples.Any(example => example.Contains(origin.Name, StringComparison.Ordinal))), output);
    }

    private static void WriteTable(string title, IEnumerable<(string Name, string Text)> rows, TextWriter output)
    {
        (string Name, string Text)[] all = [.. rows];
        if (all.Length == 0)
        {
            return;
        }

        output.WriteLine();
        output.WriteLine(title);
        int width = all.Max(row => row.Name.Length) + 2;
        foreach ((string name, string text) in all)
        {
            output.WriteLine($"  {name.PadRight(width)}{text}");
        }
    }

    private static (string Name, string Text) Row(Option option)
    {
        string value = option.ValueType == typeof(bool) && option.HelpName is null ? "" : $" {option.HelpName ?? "value"}";
        return ($"{option.Name}{value}", $"{option.Description}{(option.Required ? " (required)" : "")}");
    }

    private static string Placeholder(Argument argument) =>
        $"{argument.HelpName ?? argument.Name.ToUpperInvariant()}{(argument.Arity.MaximumNumberOfValues > 1 ? "..." : "")}";
}
