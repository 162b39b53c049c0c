// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.RegularExpressions;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>What the documentation names exists.</summary>
public sealed partial class DocumentationTests
{
    private static IEnumerable<string> Documents =>
        Directory.GetFiles(TestData.RepositoryRoot, "*.md")
            .Concat(Directory.GetFiles(Path.Combine(TestData.RepositoryRoot, "docs"), "*.md", SearchOption.AllDirectories))
            .Select(file => Path.GetRelativePath(TestData.RepositoryRoot, file));

    [TestCaseSource(nameof(Documents))]
    public void Relative_links_lead_somewhere(string document)
    {
        string path = Path.Combine(TestData.RepositoryRoot, document);
        IEnumerable<string> targets = Link().Matches(File.ReadAllText(path)).Select(match => match.Groups[1].Value)
            .Where(target => !target.Contains("://", StringComparison.Ordinal) && !target.StartsWith('#'));
        Assert.Multiple(() =>
        {
            foreach (string target in targets)
            {
                string file = Path.Combine(Path.GetDirectoryName(path)!, target.Split('#')[0]);
                Assert.That(File.Exists(file) || Directory.Exists(file), $"{document} links to {target}");
            }
        });
    }

    [TestCaseSource(nameof(Documents))]
    public void Commands_exist_and_know_their_options(string document)
    {
        string text = File.ReadAllText(Path.Combine(TestData.RepositoryRoot, document));
        Assert.Multiple(() =>
        {
            foreach (Match call in Call().Matches(text))
            {
                string[] words = call.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (words.Length == 0 || words[0].All(char.IsUpper))
                {
                    continue; // the bare name, or a placeholder
                }

                ParseResult parse = CommandLine.Create().Parse(words);
                Assert.That(words[0][0] == '-' || parse.CommandResult.Parent is not null, $"{document}: ./himo {words[0]} is no command");
                IEnumerable<string> unknown = parse.UnmatchedTokens.Where(token => token.StartsWith("--", StringComparison.Ordinal));
                Assert.That(unknown, Is.Empty, $"{document}: {call.Value}");
            }
        });
    }

    /// <summary>Texts stand in the first column, in code quotes, as the sources have them.</summary>
    [Test]
    public void Error_texts_are_those_of_the_program()
    {
        string sources = string.Concat(Directory.EnumerateFiles(Path.Combine(TestData.RepositoryRoot, "src"), "*.cs", SearchOption.AllDirectories).Select(File.ReadAllText));
        string[] texts = [.. ErrorText().Matches(File.ReadAllText(Path.Combine(TestData.RepositoryRoot, "docs", "troubleshooting.md"))).Select(match => match.Groups[1].Value)];
        Assert.That(texts, Has.Length.GreaterThan(15));
        Assert.That(texts.Where(text => !sources.Contains(text, StringComparison.Ordinal)), Is.Empty);
    }

    [Test]
    public void Tests_that_are_named_as_proof_exist()
    {
        string document = File.ReadAllText(Path.Combine(TestData.RepositoryRoot, "docs", "accuracy.md"));
        string[] lines = [.. document.Split('\n').Where(line => line.StartsWith('|') && TestClass().IsMatch(line))];
        Assert.That(lines, Has.Length.GreaterThan(8));
        Assert.Multiple(() =>
        {
            foreach (string line in lines)
            {
                Type? fixture = typeof(DocumentationTests).Assembly.GetTypes().SingleOrDefault(type => type.Name == TestClass().Match(line).Groups[1].Value);
                Assert.That(fixture, Is.Not.Null, line);
                string[] methods = [.. CodeSpan().Matches(line.Split('|')[^2]).Select(match => match.Groups[1].Value).Skip(1)];
                Assert.That(methods.Where(method => fixture!.GetMethod(method) is null), Is.Empty, line);
            }
        });
    }

    [Test]
    public void The_licence_is_complete()
    {
        string licence = File.ReadAllText(Path.Combine(TestData.RepositoryRoot, "LICENSE"));
        Assert.That(licence, Does.Contain("Apache License").And.Contain("Version 2.0, January 2004").And.Contain("END OF TERMS AND CONDITIONS"));
    }

    [GeneratedRegex(@"^\| `([^`]+)` \|", RegexOptions.Multiline)]
    private static partial Regex ErrorText();

    [GeneratedRegex("`([A-Za-z]+Tests)`")]
    private static partial Regex TestClass();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex CodeSpan();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    /// <summary>A call in a code span or on a line of its own, up to the end of what one would type.</summary>
    [GeneratedRegex(@"\./himo\b([^`\n|#>&;]*)")]
    private static partial Regex Call();
}
