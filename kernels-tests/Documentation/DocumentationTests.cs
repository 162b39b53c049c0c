// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
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

    [Test]
    public void The_licence_is_complete()
    {
        string licence = File.ReadAllText(Path.Combine(TestData.RepositoryRoot, "LICENSE"));
        Assert.That(licence, Does.Contain("Apache License").And.Contain("Version 2.0, January 2004").And.Contain("END OF TERMS AND CONDITIONS"));
    }

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();
}
