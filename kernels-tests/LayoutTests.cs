// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>An op's files stand side by side, and its tests and benchmarks mirror them: same folder, same stem.</summary>
internal sealed partial class LayoutTests
{
    private static readonly string[] s_saidOfKernels = ["mapping", "precision", "determinism", "limits"];

    private static readonly string s_source = Path.Combine(TestData.RepositoryRoot, "src", "HiMo.Kernels");
    private static readonly string s_tests = Path.Combine(TestData.RepositoryRoot, "kernels-tests");
    private static readonly string s_perf = Path.Combine(TestData.RepositoryRoot, "perf");

    /// <summary>The folders that hold ops: those with a reference.</summary>
    public static IEnumerable<string> OpFolders() =>
        Directory.GetDirectories(s_source).Where(folder => Directory.EnumerateFiles(folder, "*.Reference.cs").Any()).Select(folder => Path.GetFileName(folder));

    [TestCaseSource(nameof(OpFolders))]
    public void Every_reference_has_its_tests(string folder)
    {
        IEnumerable<string> wanted = Names(s_source, folder, ".Reference.cs").Select(op => $"{op}ReferenceTests.cs");
        Assert.That(Names(s_tests, folder, "").Select(name => name + ".cs"), Is.SupersetOf(wanted), $"kernels-tests/{folder}");
    }

    [TestCaseSource(nameof(OpFolders))]
    public void Every_test_and_benchmark_has_its_op(string folder)
    {
        string[] stems = [.. Names(s_source, folder, "")];
        IEnumerable<string> tests = Names(s_tests, folder, "Tests.cs").Concat(Names(s_perf, folder, "Benchmarks.cs"));
        Assert.That(
            tests.Where(test => !stems.Any(stem => test.StartsWith(stem, StringComparison.Ordinal))),
            Is.Empty,
            $"tests and benchmarks of {folder} that are named after nothing in src/HiMo.Kernels/{folder}");
    }

    [Test]
    public void Files_stay_under_400_lines()
    {
        IEnumerable<string> files = from root in new[] { Path.Combine(TestData.RepositoryRoot, "src"), s_tests, s_perf }
                                    from file in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
                                    where !Path.GetRelativePath(root, file).Split(Path.DirectorySeparatorChar).Any(part => part is "obj" or "bin")
                                    where File.ReadLines(file).Count() >= 400
                                    select Path.GetRelativePath(TestData.RepositoryRoot, file);
        Assert.That(files, Is.Empty);
    }

    [TestCase("mutants.tsv")]
    [TestCase("mutants-gpu.tsv")]
    public void Every_mutant_is_of_a_text_that_is_there_once(string list)
    {
        string[][] mutants = [.. from line in File.ReadLines(Path.Combine(TestData.RepositoryRoot, "eng", list)) where line.Length > 0 select line.Split('\t')];
        Assert.That(mutants, Has.Length.GreaterThan(40));
        Assert.That(mutants.Where(mutant => mutant.Length < 3 || Occurrences(Path.Combine(s_source, mutant[0]), mutant[1]) != 1).Select(mutant => string.Join(": ", mutant)), Is.Empty);

        static int Occurrences(string file, string text) => File.ReadAllText(file).Split(text).Length - 1;
    }

    [Test]
    public void The_list_of_changes_to_the_gpu_kernels_is_that_of_the_document()
    {
        IEnumerable<string> listed = from line in File.ReadLines(Path.Combine(TestData.RepositoryRoot, "eng", "mutants-gpu.tsv"))
                                     let mutant = line.Replace("|", "\\|").Split('\t')
                                     select $"| {mutant[0]} | `{mutant[1]}` | `{mutant[2]}` | killed |";
        Assert.That(File.ReadLines(Path.Combine(TestData.RepositoryRoot, "docs", "testing.md")).SkipWhile(line => line != "### Changes to the GPU kernels").Where(line => line.EndsWith("` | killed |", StringComparison.Ordinal)), Is.EqualTo(listed));
    }

    [Test]
    public void Every_file_with_a_kernel_says_mapping_precision_determinism_and_limits_in_its_head()
    {
        string[] files = [.. Directory.EnumerateFiles(s_source, "*.cs", SearchOption.AllDirectories).Where(file => EntryPoint().IsMatch(File.ReadAllText(file)))];
        IEnumerable<string> lacking = from file in files
                                      let head = string.Join('\n', File.ReadLines(file).TakeWhile(line => line.StartsWith("//", StringComparison.Ordinal)))
                                      from word in s_saidOfKernels
                                      where !head.Contains(word, StringComparison.OrdinalIgnoreCase)
                                      select $"{Path.GetFileName(file)}: {word}";
        Assert.That(files, Has.Length.GreaterThan(15));
        Assert.That(lacking, Is.Empty);
    }

    [GeneratedRegex(@"public static void \w*Kernel\w*")]
    private static partial Regex EntryPoint();

    /// <summary>What is before the first dot, or before <paramref name="ending"/>, of the files of a folder.</summary>
    private static IEnumerable<string> Names(string root, string folder, string ending)
    {
        string path = Path.Combine(root, folder);
        return Directory.Exists(path)
            ? Directory.EnumerateFiles(path, "*" + (ending.Length == 0 ? ".cs" : ending))
                .Select(file => Path.GetFileName(file)!)
                .Select(name => ending.Length == 0 ? name.Split('.')[0] : name[..^ending.Length])
                .Distinct()
            : [];
    }
}
