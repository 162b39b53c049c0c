// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Kernels;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Trainer;

/// <summary><c>himo loss</c>: the training objective and its gradients for features in .npy files.</summary>
internal static class LossCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private enum Backend
    {
        Reference,
        Cpu,
        Gpu,
        GpuEmulated,
        GpuOpencl,
    }

    /// <summary>The command with its options.</summary>
    public static Command Create()
    {
        Option<string> images = new("--images") { Description = "Image features, N x d, f4 or f8, not normalised.", HelpName = "v.npy", Required = true };
        Option<string> texts = new("--texts") { Description = "Text features, N x d, f4 or f8, not normalised.", HelpName = "u.npy", Required = true };
        Option<string> output = new("--out")
        {
            Description = "Receives loss.json, grad_images.npy and grad_texts.npy (f8 from reference, else f4).",
            HelpName = "DIR",
            Required = true,
        };
        Option<Backend> backend = ChoiceOption.Create(
            "--backend", Backend.Cpu, "float64 as the equations are written, float32 SIMD, a CUDA device, its emulation on the CPU (small shapes), or an OpenCL device (strict, min(N, d) up to 176).");
        Option<GpuPrecision> precision = ChoiceOption.Create("--precision", GpuPrecision.Strict, "Of the contrastive products on a GPU; strict has float32's error.");
        Option<double> logitScale = new("--logit-scale")
        {
            Description = "Natural logarithm of the factor on the cosines; CLIP ends near ln 100 = 4.6052. [ln(1 / 0.07) = 2.6593]",
            HelpName = "number",
            DefaultValueFactory = _ => Math.Log(1.0 / 0.07),
        };
        MoLoOptionSet options = new();
        Command command = new("loss", "Evaluate the training objective and its gradients on features in .npy files.") { images, texts, output, backend, precision, logitScale };
        options.AddTo(command);
        command.Set((parse, _) =>
        {
            MoLoOptions chosen = options.Read(parse);
            NpyArray<double> v = ReadFeatures(parse.GetRequiredValue(images));
            NpyArray<double> u = ReadFeatures(parse.GetRequiredValue(texts));
            if (!v.Shape.SequenceEqual(u.Shape))
            {
                throw new UserError($"--images is {v.ShapeText}, --texts is {u.ShapeText}; both must be N x d");
            }

            double scale = parse.GetValue(logitScale);
            string folder = parse.GetRequiredValue(output);
            TextWriter error = parse.InvocationConfiguration.Error;
            GpuPrecision operands = parse.GetValue(precision);
            Backend form = parse.GetValue(backend);
            if (operands != GpuPrecision.Strict && form is Backend.Reference or Backend.Cpu)
            {
                throw new UserError($"--precision {operands.ToString().ToLowerInvariant()} is for --backend gpu and gpu-emulated; the CPU computes in float32");
            }

            MoLoResult result = form switch
            {
                Backend.Reference => RunReference(v, u, scale, chosen, folder),
                Backend.Cpu => RunCpu(v, u, scale, chosen, folder, error),
                _ => RunGpu(form, v, u, scale, chosen, operands, folder, error),
            };
            AtomicFile.WriteText(Path.Combine(folder, "loss.json"), ToJson(result, chosen));
        });
        return command;
    }

    private static NpyArray<double> ReadFeatures(string path)
    {
        NpyArray<double> features = NpyFile.Read<double>(path);
        if (features.Shape is not [> 0, > 0])
        {
            throw new UserError($"{path}: is {features.ShapeText}; features are a matrix N x d with N and d at least 1");
        }

        int columns = features.Shape[1];
        int bad = Array.FindIndex(features.Elements, value => !double.IsFinite(value));
        return bad < 0
            ? features
            : throw new UserError($"{path}: row {bad / columns}, column {bad % columns} is {features.Elements[bad]}; features must be finite");
    }

    private static MoLoResult RunReference(NpyArray<double> images, NpyArray<double> texts, double logitScale, MoLoOptions options, string folder)
    {
        ReferenceStep step = TrainingStepReference.Run(images.Elements, texts.Elements, images.Shape[0], images.Shape[1], logitScale, options);
        NpyFile.Write<double>(Path.Combine(folder, "grad_images.npy"), step.GradImages, images.Shape);
        NpyFile.Write<double>(Path.Combine(folder, "grad_texts.npy"), step.GradTexts, images.Shape);
        return step.Result;
    }

    private static MoLoResult RunCpu(
        NpyArray<double> images, NpyArray<double> texts, double logitScale, MoLoOptions options, string folder, TextWriter error)
    {
        int rows = images.Shape[0];
        int columns = images.Shape[1];
        float[] gradImages = new float[images.Elements.Length];
        float[] gradTexts = new float[images.Elements.Length];
        using TrainingStep step = new(options);
        step.Warning += text => error.WriteLine($"himo: warning: {text}");
        MoLoResult result = step.Run(
            new ReadOnlyMatrixView(ToSingle(images, "--images"), rows, columns),
            new ReadOnlyMatrixView(ToSingle(texts, "--texts"), rows, columns),
            logitScale,
            new MatrixView(gradImages, rows, columns),
            new MatrixView(gradTexts, rows, columns));
        NpyFile.Write<float>(Path.Combine(folder, "grad_images.npy"), gradImages, images.Shape);
        NpyFile.Write<float>(Path.Combine(folder, "grad_texts.npy"), gradTexts, images.Shape);
        return result;
    }

    private static MoLoResult RunGpu(
        Backend form, NpyArray<double> images, NpyArray<double> texts, double logitScale, MoLoOptions options, GpuPrecision precision, string folder, TextWriter error)
    {
        Guard.That(logitScale is >= TrainingStep.MinLogitScale and <= TrainingStep.MaxLogitScale, logitScale, "must be from -100 to 80, a natural logarithm");
        MatrixShape shape = new(images.Shape[0], images.Shape[1]);
        float[] v = ToSingle(images, "--images"), u = ToSingle(texts, "--texts");
        try
        {
            using TrainingStep step = new(options, threads: 1);
            _ = step.WorkspaceBytes(shape, precision);      // refuses what the GPU does not have, before a device is asked for
            if (form == Backend.GpuEmulated && shape.Length > 1 << 15)
            {
                error.WriteLine($"himo: warning: emulation is for small batches, {shape} can take many minutes; Ctrl-C stops it");
            }

            using Gpu gpu = form switch
            {
                Backend.GpuEmulated => Gpu.OpenEmulated(warps: 4),
                Backend.GpuOpencl => Gpu.OpenOpenCl(),
                _ => Gpu.OpenCuda(),
            };
            using GpuWorkspace workspace = step.CreateWorkspace(gpu, shape, precision);
            using MemoryBuffer1D<float, Stride1D.Dense> imageRows = gpu.Accelerator.Allocate1D(v);
            using MemoryBuffer1D<float, Stride1D.Dense> textRows = gpu.Accelerator.Allocate1D(u);
            using MemoryBuffer1D<float, Stride1D.Dense> scale = gpu.Accelerator.Allocate1D(new[] { (float)logitScale });
            using MemoryBuffer1D<float, Stride1D.Dense> gradImages = gpu.Accelerator.Allocate1D<float>(shape.Length);
            using MemoryBuffer1D<float, Stride1D.Dense> gradTexts = gpu.Accelerator.Allocate1D<float>(shape.Length);
            step.Run(Matrix(imageRows), Matrix(textRows), new GpuMatrix(scale.View.BaseView, 1, 1), Matrix(gradImages), Matrix(gradTexts), workspace);
            MoLoResult result = workspace.ReadResult();
            if (result.Warnings.Describe(Math.Max(result.M, result.MImage), result.RelativeGap, options.Tau) is { Length: > 0 } warning)
            {
                error.WriteLine($"himo: warning: {warning}");
            }

            NpyFile.Write<float>(Path.Combine(folder, "grad_images.npy"), gradImages.GetAsArray1D(), images.Shape);
            NpyFile.Write<float>(Path.Combine(folder, "grad_texts.npy"), gradTexts.GetAsArray1D(), images.Shape);
            return result;
        }
        catch (NotSupportedException missing)
        {
            throw new UserError($"{missing.Message} Use --backend cpu", missing);
        }

        GpuMatrix Matrix(MemoryBuffer1D<float, Stride1D.Dense> buffer) => new(buffer.View.BaseView, shape.Rows, shape.Columns);
    }

    private static float[] ToSingle(NpyArray<double> features, string option)
    {
        float[] values = Array.ConvertAll(features.Elements, value => (float)value);
        int bad = Array.FindIndex(values, value => !float.IsFinite(value));
        return bad < 0
            ? values
            : throw new UserError($"{option}: {features.Elements[bad]} is too large for float32; use --backend reference");
    }

    private static string ToJson(MoLoResult result, MoLoOptions options)
    {
        JsonObject json = new() { ["loss"] = result.Loss, ["global"] = result.Global, ["component"] = result.Component, ["m"] = result.M };
        if (options.Components != ComponentSource.Text)
        {
            json["m_image"] = result.MImage;
        }

        json["explained_variance"] = result.ExplainedVariance;
        json["grad_logit_scale"] = result.GradLogitScale;
        return json.ToJsonString(s_indented) + "\n";
    }
}
