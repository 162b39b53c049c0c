// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>One configuration of one folder of <c>golden/loss</c>: options, scalars, and the arrays stored for it.</summary>
internal sealed class GoldenLoss
{
    private readonly string _folder;
    private readonly JsonElement _manifest;
    private readonly JsonElement _config;

    private GoldenLoss(string folder, JsonElement manifest, JsonElement config)
    {
        _folder = folder;
        _manifest = manifest;
        _config = config;
        JsonElement given = config.GetProperty("params");
        LogitScale = given.GetProperty("log_scale").GetDouble();
        Options = GoldenInput.ReadOptions(given);
    }

    public int Rows => _manifest.GetProperty("N").GetInt32();

    public int Columns => _manifest.GetProperty("d").GetInt32();

    public double LogitScale { get; }

    public MoLoOptions Options { get; }

    public double Total => Scalar("total");

    public double GradLogitScale => _config.GetProperty("grad_log_scale") is { ValueKind: JsonValueKind.Object } both
        ? both.GetProperty("float64").GetDouble()
        : _config.GetProperty("grad_log_scale").GetDouble();

    /// <summary>
    /// Every (folder, configuration) pair below golden/loss, degenerate ones apart; of the largest folder's scalar-only
    /// configurations all in long runs and one otherwise. Without test data one pair, which is then skipped.
    /// </summary>
    public static IEnumerable<TestCaseData> All()
    {
        if (TestData.RootOrNull is null)
        {
            yield return new TestCaseData("n8_d16", "base");
        }

        foreach (string folder in TestData.RootOrNull is null ? [] : Folders())
        {
            JsonElement manifest = ReadManifest(Path.Combine("loss", folder));
            foreach (JsonElement config in manifest.GetProperty("configs").EnumerateArray())
            {
                yield return new TestCaseData(folder, config.GetProperty("id").GetString());
            }

            int scalarOnly = manifest.TryGetProperty("scalar_only_configs", out JsonElement list) ? list.GetArrayLength() : 0;
            int count = folder.StartsWith("n1024", StringComparison.Ordinal) ? TestLength.Pick(Math.Min(scalarOnly, 1), scalarOnly) : scalarOnly;
            for (int i = 0; i < count; i++)
            {
                yield return new TestCaseData(folder, $"scalars {i}");
            }
        }
    }

    /// <summary>The folders below golden/loss that hold configurations; without test data one name, whose test is then skipped.</summary>
    public static IEnumerable<string> Folders()
    {
        string? root = TestData.RootOrNull;
        return root is null
            ? ["n8_d16"]
            : Directory.GetDirectories(Path.Combine(root, "golden", "loss"), "n*").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal);
    }

    /// <summary>Opens one configuration; skips the test without test data.</summary>
    public static GoldenLoss Open(string folder, string id)
    {
        string path = TestData.Get("golden", "loss", folder);
        JsonElement manifest = ReadManifest(Path.Combine("loss", folder));
        JsonElement config = id.StartsWith("scalars ", StringComparison.Ordinal)
            ? manifest.GetProperty("scalar_only_configs")[int.Parse(id["scalars ".Length..])]
            : manifest.GetProperty("configs").EnumerateArray().Single(each => each.GetProperty("id").GetString() == id);
        return new GoldenLoss(path, manifest, config);
    }

    public static JsonElement ReadManifest(string folder)
    {
        using FileStream file = File.OpenRead(Path.Combine(TestData.Get("golden", folder), "manifest.json"));
        return JsonDocument.Parse(file).RootElement;
    }

    public float[] Images() => NpyFile.Read<float>(Path.Combine(_folder, "v.npy")).Elements;

    public float[] Texts() => NpyFile.Read<float>(Path.Combine(_folder, "u.npy")).Elements;

    /// <summary>A float64 result of the authors' code: loss_global, loss_comp, total, ce_i2t, ce_t2i, ce_i2c, ce_c2i or m.</summary>
    public double Scalar(string name) => _config.GetProperty("float64").GetProperty(name).GetDouble();

    /// <summary>The gradients stored for this configuration.</summary>
    public IEnumerable<GoldenGradient> Gradients()
    {
        if (_config.TryGetProperty("arrays", out JsonElement arrays))
        {
            foreach (JsonProperty array in arrays.EnumerateObject())
            {
                if (array.Name.StartsWith("grad_", StringComparison.Ordinal))
                {
                    string file = array.Value.GetString()!;
                    JsonElement entry = _manifest.GetProperty("files").EnumerateArray().Single(each => each.GetProperty("file").GetString() == file);
                    int stride = entry.TryGetProperty("row_stride", out JsonElement given) ? given.GetInt32() : 1;
                    NpyArray<double> values = NpyFile.Read<double>(Path.Combine(_folder, file));
                    bool rounded = values.StoredType == "f4" || entry.GetProperty("meaning").GetString()!.Contains("float32", StringComparison.Ordinal);
                    yield return new GoldenGradient(array.Name, values.Elements, stride, rounded);
                }
            }
        }

        if (_config.TryGetProperty("norms", out JsonElement norms))
        {
            foreach (JsonProperty norm in norms.EnumerateObject())
            {
                yield return new GoldenGradient(norm.Name + ".norm", [norm.Value.GetDouble()], 1, false);
            }
        }
    }

    /// <summary>An array of the folder, for example u_prime, or of the configuration, for example comp_text; null if it is not stored.</summary>
    public GoldenArray? Array(string name)
    {
        string file = _config.TryGetProperty("arrays", out JsonElement arrays) && arrays.TryGetProperty(name, out JsonElement own) ? own.GetString()! : name + ".npy";
        string path = Path.Combine(_folder, file);
        if (!File.Exists(path))
        {
            return null;
        }

        NpyArray<double> stored = NpyFile.Read<double>(path);
        return new GoldenArray(stored.Elements, stored.StoredType == "f4" ? 5e-8 : 1e-8);
    }
}

/// <summary>A stored array, and how near the reference must come: 5e-8 where it was rounded to float32, else 1e-8.</summary>
internal sealed record GoldenArray(double[] Values, double Tolerance);

/// <summary>One stored gradient, whole, thinned out or summarised.</summary>
/// <param name="Name">For example grad_u.full.svd, grad_v.official.rows or grad_v.full.row_norms.</param>
/// <param name="Values">What is stored.</param>
/// <param name="RowStride">Only rows 0, k, 2k, ... are stored.</param>
/// <param name="IsRounded">Stored as float32.</param>
internal sealed record GoldenGradient(string Name, double[] Values, int RowStride, bool IsRounded)
{
    public bool IsImage => Name.StartsWith("grad_v", StringComparison.Ordinal);

    public bool GatherWithGrad => Name.Contains(".full", StringComparison.Ordinal);

    public BasisGradient Basis => Name.Contains(".detached", StringComparison.Ordinal) ? BasisGradient.Stopped : BasisGradient.Exact;

    /// <summary>The same part or summary of a whole N x d gradient.</summary>
    public double[] Of(double[] gradient, int columns)
    {
        double[][] rows = [.. gradient.Chunk(columns)];
        string kind = Name[(Name.LastIndexOf('.') + 1)..];
        return kind switch
        {
            "row_norms" => [.. rows.Select(Expect.Norm)],
            "col_sums" => [.. Enumerable.Range(0, columns).Select(column => rows.Sum(row => row[column]))],
            "norm" => [Expect.Norm(gradient)],
            _ => [.. rows.Where((_, index) => index % RowStride == 0).SelectMany(row => row)],
        };
    }
}
