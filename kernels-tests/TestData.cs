// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Finds the test-data folder: HIMO_TEST_DATA, else <c>shared</c> beside the checkout. Without it a test is skipped, with the reason.</summary>
internal static class TestData
{
    private const string Variable = "HIMO_TEST_DATA";

    private static readonly Lazy<string?> s_repositoryRoot = new(FindRepositoryRoot);

    /// <summary>The folder that holds HiMo.Kernels.sln. Found at its first use: the GPU bundle has test data and no repository.</summary>
    public static string RepositoryRoot => RepositoryRootOrNull ?? throw new InvalidOperationException($"HiMo.Kernels.sln is in no folder above {AppContext.BaseDirectory}");

    /// <summary>The same, or null in the GPU bundle.</summary>
    public static string? RepositoryRootOrNull => s_repositoryRoot.Value;

    /// <summary>The test-data folder, or null if there is none; for case enumeration, which must not skip.</summary>
    public static string? RootOrNull
    {
        get
        {
            string root = Candidate;
            return Directory.Exists(root) ? root : null;
        }
    }

    private static string Candidate => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } set
        ? Path.GetFullPath(set)
        : Path.GetFullPath(Path.Combine(RepositoryRoot, "..", "shared"));

    /// <summary>Full path of a file or folder in the test data; skips the running test if it is not there.</summary>
    /// <param name="parts">Path below the test-data folder, for example <c>golden</c>, <c>loss</c>.</param>
    public static string Get(params string[] parts)
    {
        string path = Path.Combine([Candidate, .. parts]);
        if (!File.Exists(path) && !Directory.Exists(path))
        {
            Assert.Ignore($"no test data at {path}; set {Variable} to the test-data folder");
        }

        return path;
    }

    private static string? FindRepositoryRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "HiMo.Kernels.sln")))
            {
                return folder.FullName;
            }
        }

        return null;
    }
}
