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

    [Test]
    public void The_licence_is_complete()
    {
        string licence = File.ReadAllText(Path.Combine(TestData.RepositoryRoot, "LICENSE"));
        Assert.That(licence, Does.Contain("Apache License").And.Contain("Version 2.0, January 2004").And.Contain("END OF TERMS AND CONDITIONS"));
    }

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    /// <summary>A call in a code span or on a line of its own, up to the end of what one would type.</summary>
    [GeneratedRegex(@"\./himo\b([^`\n|#>&;]*)")]
    private static partial Regex Call();
}
