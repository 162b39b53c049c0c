// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;

namespace HiMo.Kernels.Tests;

/// <summary>One folder of <c>golden/distributed</c>: R ranks of B rows each.</summary>
internal sealed class GoldenRanks
{
    private readonly string _folder;
    private readonly JsonElement _manifest;

    private GoldenRanks(string name)
    {
        _folder = TestData.Get("golden", "distributed", name);
        _manifest = GoldenLoss.ReadManifest(Path.Combine("distributed", name));
        JsonElement given = _manifest.GetProperty("params");
        Ranks = given.GetProperty("world_size").GetInt32();
        LocalRows = given.GetProperty("local_batch").GetInt32();
        Columns = given.GetProperty("d").GetInt32();
        LogitScale = given.GetProperty("log_scale").GetDouble();
        Options = new MoLoOptions
        {
            Tau = given.GetProperty("tau").GetDouble(),
            LabelSmoothing = given.GetProperty("label_smoothing").GetDouble(),
            Lambda = given.GetProperty("lam").GetDouble(),
        };
    }

    public static IEnumerable<string> Names => ["w2_b4_d16", "w2_b16_d12", "w4_b8_d32"];

    public int Ranks { get; }

    public int LocalRows { get; }

    public int Columns { get; }

    public double LogitScale { get; }

    public MoLoOptions Options { get; }

    public static GoldenRanks Open(string name) => new(name);

    /// <summary>Image features of all ranks, one after the other.</summary>
    public float[] Images() => NpyFile.Read<float>(Path.Combine(_folder, "v.npy")).Elements;

    /// <summary>Text features of all ranks, one after the other.</summary>
    public float[] Texts() => NpyFile.Read<float>(Path.Combine(_folder, "u.npy")).Elements;

    /// <summary>A stored float64 array, for example u_prime, or for one of the gathers grad_v or grad_u.</summary>
    public double[] Array(string name) => NpyFile.Read<double>(Path.Combine(_folder, name + ".npy")).Elements;

    public double[] Gradient(string side, bool gatherWithGrad) => Array($"grad_{side}.{(gatherWithGrad ? "gather_with_grad" : "official")}");

    /// <summary>A float64 result of one rank: loss_global, loss_comp, total, m or grad_log_scale.</summary>
    public double Scalar(int rank, string name) => _manifest.GetProperty("per_rank")[rank].GetProperty("float64").GetProperty(name).GetDouble();
}
