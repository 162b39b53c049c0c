// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary><c>himo encode</c>: features of preprocessed images or tokenized texts.</summary>
internal static class EncodeCommand
{
    private const int DefaultBatch = 32;

    /// <summary>The command with its options.</summary>
    public static Command Create()
    {
        ModelOptions options = new();
        Option<string?> images = new("--images") { Description = "Images as preprocess writes them, n x 3 x S x S, f4 or f8.", HelpName = "x.npy" };
        Option<string?> texts = new("--texts") { Description = "Token ids, n x T, i8, i4 or u1, T at most the context.", HelpName = "ids.npy" };
        Option<int> batch = new("--batch") { Description = "Rows encoded at once; does not change the result.", HelpName = "N", DefaultValueFactory = _ => DefaultBatch };
        Option<string> output = new("--out") { Description = "Receives the features as the encoder gives them, n x e, f4, not normalised.", HelpName = "f.npy", Required = true };
        Command command = new("encode", "Encode images or texts with a checkpoint.") { images, texts, batch, output };
        options.AddTo(command, tokenizes: false);
        command.Set((parse, cancel) =>
        {
            string? imagePath = parse.GetValue(images), textPath = parse.GetValue(texts);
            if (imagePath is null == textPath is null)
            {
                throw new UserError("give either --images or --texts, so that one file of features comes out");
            }

            if (parse.GetValue(batch) < 1)
            {
                throw new UserError($"--batch {parse.GetValue(batch)}: must be at least 1");
            }

            using ClipModel model = options.LoadModel(parse);
            float[] features = imagePath is not null
                ? Encode(imagePath, ReadImages(imagePath), model.EncodeImage, model.Config.EmbedDim, parse.GetValue(batch), cancel)
                : Encode(textPath!, ReadIds(textPath!), model.EncodeText, model.Config.EmbedDim, parse.GetValue(batch), cancel);
            NpyFile.Write<float>(parse.GetRequiredValue(output), features, features.Length / model.Config.EmbedDim, model.Config.EmbedDim);
        });
        return command;
    }

    private static NpyArray<float> ReadImages(string path)
    {
        NpyArray<float> images = NpyFile.Read<float>(path);
        int bad = Array.FindIndex(images.Elements, value => !float.IsFinite(value));
        return images.Shape.Length == 4 && bad < 0
            ? images
            : throw new UserError(bad < 0 ? $"{path}: is {images.ShapeText}; images are n x 3 x S x S" : $"{path}: image {bad / (images.Elements.Length / images.Shape[0])} holds {images.Elements[bad]}; pixels must be finite");
    }

    private static NpyArray<long> ReadIds(string path)
    {
        NpyArray<long> ids = NpyFile.Read<long>(path);
        return ids.Shape.Length == 2 ? ids : throw new UserError($"{path}: is {ids.ShapeText}; token ids are n x T");
    }

    private static float[] Encode<T>(string path, NpyArray<T> input, Func<Tensor, Tensor> encode, int width, int batch, CancellationToken cancel)
        where T : unmanaged
    {
        using IDisposable constant = inference_mode();
        int rows = input.Shape[0];
        int rowElements = rows == 0 ? 0 : input.Elements.Length / rows;
        float[] features = new float[checked(rows * width)];
        for (int start = 0; start < rows; start += batch)
        {
            cancel.ThrowIfCancellationRequested();
            using DisposeScope scope = NewDisposeScope();
            int count = Math.Min(batch, rows - start);
            long[] shape = [count, .. input.Shape[1..]];
            Tensor part = from_array(input.Elements[(start * rowElements)..((start + count) * rowElements)]).reshape(shape);
            try
            {
                encode(part).data<float>().CopyTo(features, start * width);
            }
            catch (ArgumentException failure)
            {
                throw new UserError($"{path}: {failure.Message}", failure);
            }
        }

        return features;
    }
}
