// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.CommandLine.Parsing;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class CommandLineTests
{
    private static IEnumerable<CommandEntry> Entries => CommandLine.Groups.SelectMany(group => group.Entries);

    [TestCase("--help")]
    [TestCase("-h")]
    [TestCase()]
    public void Help_shows_every_command_in_its_group_with_an_example(params string[] arguments)
    {
        string help = Run(arguments);
        Assert.That(help, Does.StartWith(CommandLine.Summary));
        int position = 0;
        foreach (CommandGroup group in CommandLine.Groups)
        {
            position = Next($"\n{group.Title}\n");
            foreach (CommandEntry entry in group.Entries)
            {
                position = Next($"\n  {entry.Command.Name} ");
                position = Next(entry.Examples[0]);
            }
        }

        int Next(string text)
        {
            int found = help.IndexOf(text, position, StringComparison.Ordinal);
            Assert.That(found, Is.GreaterThanOrEqualTo(position), $"help lacks '{text}' after position {position}");
            return found;
        }
    }

    [Test]
    public void Every_example_is_a_call_that_parses()
    {
        Assert.Multiple(() =>
        {
            foreach ((CommandEntry entry, string example) in Entries.SelectMany(entry => entry.Examples.Select(example => (entry, example))))
            {
                Assert.That(example, Does.StartWith($"./himo {entry.Command.Name} ").Or.EqualTo($"./himo {entry.Command.Name}"));
                string[] arguments = [.. CommandLineParser.SplitCommandLine(example.Split([" < ", " > ", " | "], StringSplitOptions.None)[0]).Skip(1)];
                ParseResult parse = CommandLine.Create().Parse(arguments);
                Assert.That(UsageErrors.Find(parse, arguments), Is.Null, example);
                Assert.That(parse.CommandResult.Command.Action, Is.Not.Null, $"{example} does something");
            }
        });
    }

    [Test]
    public void Every_file_in_an_example_is_shipped_or_made_by_another_or_has_a_source()
    {
        (string Example, string[] Words)[] examples =
            [.. Entries.SelectMany(entry => entry.Examples).Select(example => (example, CommandLineParser.SplitCommandLine(example).Skip(1).ToArray()))];
        string[] written = [.. examples.SelectMany(example => example.Words.Zip(example.Words.Skip(1)).Where(pair => pair.First is "--out" or "--records").Select(pair => pair.Second))];
        string[] read = [.. examples.SelectMany(example => example.Words).Where(IsPath).Distinct().Where(path => !written.Any(made => path == made || path.StartsWith(made + "/", StringComparison.Ordinal)))];
        string[] unknown = [.. read.Where(path => !Path.Exists(Path.Combine(TestData.RepositoryRoot, path)) && !CommandLine.Origins.Any(origin => path == origin.Name || path.StartsWith(origin.Name + "/", StringComparison.Ordinal)))];

        Assert.Multiple(() =>
        {
            Assert.That(read, Has.Length.GreaterThan(10), "paths are found in the examples");
            Assert.That(unknown, Is.Empty);
            Assert.That(written, Has.All.StartWith("out/"), "examples write below out/");
            Assert.That(CommandLine.Origins.Where(origin => !examples.Any(example => example.Example.Contains(origin.Name, StringComparison.Ordinal))), Is.Empty, "sources of nothing");
        });

        static bool IsPath(string word) => !word.Contains(' ') && (word.Contains('/') || (Path.HasExtension(word) && !double.TryParse(word, System.Globalization.CultureInfo.InvariantCulture, out _)));
    }

    [Test]
    public void Help_of_a_command_says_where_the_files_of_its_examples_come_from() =>
        Assert.That(Run("score", "--help"), Does.Contain("Where the files come from\n  out/demo  ./himo demo makes it"));

    [Test]
    public void Many_options_stand_in_groups() =>
        Assert.That(Run("train", "--help"), Does.Match(@"(?s)\nOptions\n.*--data DIR.*\nData\n.*--held-out number.*\nLoss\n.*--tau number.*\nMeasuring, saving, logs\n.*--save-minutes number"));

    [Test]
    public void Every_command_and_option_is_described()
    {
        Assert.Multiple(() =>
        {
            foreach (Command command in Entries.Select(entry => entry.Command).SelectMany(command => command.Subcommands.Prepend(command)))
            {
                Assert.That(command.Description, Is.Not.Null.And.Not.Empty, command.Name);
                foreach (Symbol symbol in command.Options.Cast<Symbol>().Concat(command.Arguments))
                {
                    Assert.That(symbol.Description, Is.Not.Null.And.Not.Empty, $"{command.Name} {symbol.Name}");
                }
            }
        });
    }

    [Test]
    public void Version_is_printed() => Assert.That(Run("--version"), Does.Match(@"^\d+\.\d+\.\d+"));

    private static string Run(params string[] arguments)
    {
        StringWriter output = new() { NewLine = "\n" };
        StringWriter error = new();
        Assert.That(CommandRunner.Run(arguments, output, error), Is.Zero, error.ToString());
        return output.ToString();
    }
}
