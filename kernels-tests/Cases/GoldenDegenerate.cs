// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;

namespace HiMo.Kernels.Tests;

/// <summary>What of a degenerate folder can be compared; the folder's manifest says the same in words.</summary>
[Flags]
internal enum Comparable
{
    Nothing = 0,
    GlobalLoss = 1,
    ComponentLoss = 2,
    M = 4,
    Components = 8,
    GradImages = 16,

    /// <summary>With the basis stopped.</summary>
    GradTextsStopped = 32,

    /// <summary>With the exact basis gradient: <c>stable.*</c> where the authors' is not finite, else both.</summary>
    GradTextsExact = 64,

    /// <summary>With the exact basis gradient, loosely: within 5e-2.</summary>
    GradTextsLoosely = 128,

    /// <summary>Float32 results of this folder only loosely: within 1e-3 and 5e-2.</summary>
    SingleLoosely = 256,

    /// <summary>The logit scale is beyond float32.</summary>
    ReferenceOnly = 512,

    Losses = GlobalLoss | ComponentLoss,
    Forward = Losses | M | Components,
    Everything = Forward | GradImages | GradTextsStopped | GradTextsExact,
}

/// <summary>One folder of <c>golden/loss/degenerate</c>.</summary>
internal sealed class GoldenDegenerate
{
    private static readonly Dictionary<string, Comparable> s_rules = new()
    {
        ["all_eigenvalues_equal"] = Comparable.Everything,
        ["duplicated_rows"] = Comparable.Everything,
        ["identical_texts_n6"] = Comparable.Losses | Comparable.Components | Comparable.GradImages,
        ["identical_texts_n8"] = Comparable.Losses | Comparable.Components | Comparable.GradImages,
        ["log_scale_10"] = Comparable.Everything,
        ["log_scale_100"] = Comparable.Everything | Comparable.ReferenceOnly,
        ["log_scale_ln100"] = Comparable.Everything,
        ["n1"] = Comparable.Forward | Comparable.GradImages | Comparable.GradTextsStopped,
        ["near_degenerate_boundary_0.0001"] = Comparable.Everything | Comparable.SingleLoosely,
        ["near_degenerate_boundary_0.01"] = Comparable.Everything | Comparable.SingleLoosely,
        ["near_degenerate_kept_0.001"] = Comparable.Everything,
        ["near_degenerate_kept_1e-06"] = Comparable.Everything,
        ["rank1"] = Comparable.Everything,
        ["repeated_eigenvalues_dropped"] = Comparable.Everything,
        ["repeated_eigenvalues_kept"] = Comparable.Everything,
        ["repeated_eigenvalues_split"] = Comparable.GlobalLoss | Comparable.M,
        ["tau1_tall"] = Comparable.Everything & ~(Comparable.M | Comparable.GradTextsStopped),
        ["tau1_wide"] = Comparable.Everything & ~(Comparable.M | Comparable.GradTextsStopped),
        ["tiny_variance_tau0.1"] = Comparable.Forward | Comparable.GradImages | Comparable.GradTextsLoosely | Comparable.SingleLoosely,
        ["tiny_variance_tau0.9"] = Comparable.Forward | Comparable.GradImages | Comparable.GradTextsLoosely | Comparable.SingleLoosely,
        ["zero_image_row"] = Comparable.Nothing, // the authors' code gives NaN
        ["zero_text_row"] = Comparable.Nothing,  // the authors' code raises
    };

    private readonly string _folder;
    private readonly JsonElement _manifest;

    private GoldenDegenerate(string name)
    {
        _folder = TestData.Get("golden", "loss", "degenerate", name);
        _manifest = GoldenLoss.ReadManifest(Path.Combine("loss", "degenerate", name));
        Comparable = s_rules[name];
        LogitScale = _manifest.GetProperty("params").GetProperty("log_scale").GetDouble();
        Options = GoldenInput.ReadOptions(_manifest.GetProperty("params"));
    }

    public static IEnumerable<string> Names => s_rules.Keys;

    public Comparable Comparable { get; }

    public int Rows => _manifest.GetProperty("N").GetInt32();

    public int Columns => _manifest.GetProperty("d").GetInt32();

    public double LogitScale { get; }

    public MoLoOptions Options { get; }

    public static GoldenDegenerate Open(string name) => new(name);

    public float[] Images() => NpyFile.Read<float>(Path.Combine(_folder, "v.npy")).Elements;

    public float[] Texts() => NpyFile.Read<float>(Path.Combine(_folder, "u.npy")).Elements;

    /// <summary>A float64 result of the authors' code: loss_global, loss_comp, total, m or grad_log_scale.</summary>
    public double Scalar(string name) => _manifest.GetProperty("official").GetProperty("float64.full").GetProperty(name).GetDouble();

    public double[] Components() => Read("u_prime");

    public double[] GradImages(bool gatherWithGrad) => Read("grad_v." + Gather(gatherWithGrad));

    public double[] GradTextsStopped(bool gatherWithGrad) => Read($"grad_u.{Gather(gatherWithGrad)}.detached");

    /// <summary>Through the projector's derivative where it is stored, else through the authors' SVD.</summary>
    public double[] GradTextsExact(bool gatherWithGrad)
    {
        string stable = "stable.grad_u." + Gather(gatherWithGrad);
        return File.Exists(Path.Combine(_folder, stable + ".npy")) ? Read(stable) : Read($"grad_u.{Gather(gatherWithGrad)}.svd");
    }

    private static string Gather(bool gatherWithGrad) => gatherWithGrad ? "full" : "official";

    private double[] Read(string name) => NpyFile.Read<double>(Path.Combine(_folder, name + ".npy")).Elements;
}
