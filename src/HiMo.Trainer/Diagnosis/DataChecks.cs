// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Looks for the files that commands and tests read.</summary>
internal static class DataChecks
{
    private const string TestDataVariable = "HIMO_TEST_DATA";

    /// <param name="root">The checkout.</param>
    public static Finding TestData(string root)
    {
        string folder = Environment.GetEnvironmentVariable(TestDataVariable) is { Length: > 0 } set
            ? set
            : Path.GetFullPath(Path.Combine(root, "..", "shared"));
        return Directory.Exists(Path.Combine(folder, "golden"))
            ? Finding.Works("test data", folder)
            : Finding.Absent("test data", $"{folder} has no folder golden", $"set {TestDataVariable}; without it the tests against the authors' numbers are skipped");
    }

    /// <param name="folder">Where the build put them.</param>
    public static Finding BaseModels(string folder)
    {
        string[] files = Directory.Exists(folder) ? Directory.GetFiles(folder, "*.safetensors") : [];
        return files.Length > 0
            ? Finding.Works("base models", string.Join(", ", files.Order(StringComparer.Ordinal).Select(file => $"{Path.GetFileName(file)} ({MachineChecks.Size(new FileInfo(file).Length)})")))
            : Finding.Problem("base models", $"{folder} holds no *.safetensors", "git checkout -- models in the checkout, and build again; the demo starts from them");
    }

    /// <param name="root">The checkout.</param>
    public static Finding DemoData(string root)
    {
        string folder = Path.Combine(root, "out", "demo");
        return Directory.Exists(Path.Combine(folder, "data"))
            ? Finding.Works("demo data", folder)
            : Finding.Absent("demo data", $"{folder} is not there yet", "'./himo demo' makes it");
    }

    public static Finding Vocabulary()
    {
        try
        {
            string file = Tokenizers.FindVocabulary(vocabOption: null, checkpointPath: null);
            return Finding.Works("CLIP vocabulary", $"{file}, {ClipVocabulary.Load(file).Ids.Count} entries");
        }
        catch (UserError failure)
        {
            string remedy = $"set {Tokenizers.Variable} or give --vocab; checkpoints that bring their own words, as the demo's do, need none";
            return Environment.GetEnvironmentVariable(Tokenizers.Variable) is { Length: > 0 }
                ? Finding.Problem("CLIP vocabulary", failure.Message, remedy)
                : Finding.Absent("CLIP vocabulary", $"{Tokenizers.Variable} is not set", remedy);
        }
    }

    public static Finding Chromium()
    {
        string[] folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator);
        string? program = folders.Select(folder => Path.Combine(folder, "chromium")).FirstOrDefault(File.Exists);
        return program is not null
            ? Finding.Works("Chromium", program)
            : Finding.Absent("Chromium", "no chromium in PATH", "apt-get install chromium (./test does it as root); without it the page tests are skipped");
    }
}
