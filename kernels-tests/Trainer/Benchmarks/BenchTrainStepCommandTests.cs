// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Benchmarks;

internal sealed class BenchTrainStepCommandTests
{
    /// <summary>The command compares its losses with those of the plain model before it times anything, and fails where they differ.</summary>
    [Test]
    public void Both_models_agree_and_every_number_is_there()
    {
        ProgramResult call = HimoProgram.Run(["bench", "train-step", "--size", "tiny", "--batch", "8", "--threads", "1", "--seconds", "0.1", "--json"]);
        Assert.That(call.ExitCode, Is.Zero, call.Error);
        JsonObject result = JsonNode.Parse(call.Output)!.AsObject();
        string[] times = ["ours_ms", "plain_infonce_ms", "plain_himo_ms", "ours_min_ms", "ratio_infonce", "ratio_himo"];
        Assert.That(times.Select(name => (double)result[name]!), Has.All.Positive);
        Assert.That((double)result["optimizer_share"]!, Is.InRange(0.0, 1.0).And.Positive);
        // A difference of two short processes' times: on a busy machine it may be anything, but 0 says that no product was seen.
        Assert.That((double)result["matrix_product_share"]!, Is.Not.Zero.And.Not.NaN);
    }

    /// <summary>The step for GPUs, with the processor in the place of one.</summary>
    [Test]
    public void A_step_on_a_device_gives_every_loss_its_share()
    {
        using DeviceTrainStep step = new(BenchTrainStepCommand.Model(TrainStepSize.Tiny), 8, TorchSharp.torch.CPU, Precision.Bfloat16);
        JsonObject result = step.Measure(0.05, CancellationToken.None);
        Assert.That(result["torch"]!.ToString(), Does.StartWith("2.10"));
        Assert.That(result.Remove("torch"));
        Assert.That(result.Select(pair => pair.Key), Is.EqualTo(new[] { "ours", "plain_svd", "plain_eigh", "plain_infonce" }));
        foreach ((string name, JsonNode? row) in result)
        {
            double milliseconds = (double)row!["step_ms"]!, share = (double)row["loss_share"]!;
            Assert.That(share, Is.Positive, name);
            Assert.That(share * milliseconds, Is.EqualTo((double)row["loss_ms"]!).Within(1e-9).Percent, name);
            Assert.That((double)row["pairs_per_second"]!, Is.EqualTo(8000.0 / milliseconds).Within(1e-9).Percent, name);
        }

        Assert.That((double)result["plain_infonce"]!["loss"]!, Is.LessThan((double)result["ours"]!["loss"]!), "one branch of two");
    }

    [Test]
    public void Products_are_added_up_in_every_unit()
    {
        const string Output = """
            MKL_VERBOSE oneMKL 2024.0 Update 2 Product build
            MKL_VERBOSE SGEMM(N,T,64,64,64,0x7ffd,0x55,64,0x55,64,0x7ffd,0x55,64) 12.5us CNR:OFF Dyn:0 FastMM:1 TID:0  NThr:2
            MKL_VERBOSE SGEMM_BATCH(N,T,0x1) 2.00ms CNR:OFF Dyn:0 FastMM:1 TID:0  NThr:2
            MKL_VERBOSE GEMM_BF16BF16F32(N,N,8,8,8) 500ns CNR:OFF Dyn:0 FastMM:1 TID:0  NThr:2
            MKL_VERBOSE SSYEVD(V,L,64,0x55) 249.67ms CNR:OFF Dyn:0 FastMM:1 TID:0  NThr:2
            onednn_verbose,v1,primitive,exec,cpu,matmul,brg:avx512_core_bf16,undef,src:bf16,attr,,2x3:3x4,0.25
            onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32,attr,,2x3,7.5
            1234.5
            """;
        Assert.That(ProductProfile.Milliseconds(Output), Is.EqualTo(0.0125 + 2.0 + 0.0005 + 0.25).Within(1e-12));
        Assert.That(ProductProfile.Milliseconds("1234.5"), Is.Zero);
    }
}
