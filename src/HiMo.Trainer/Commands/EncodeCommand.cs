// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary><c>himo encode</c>: features of preprocessed images or tokenized texts, or of a whole folder or data set.</summary>
internal static class EncodeCommand
{
    private const int DefaultBatch = 32;

    /// <summary>The command with its options.</summary>
    public static Command Create()
    {
        ModelOptions options = new();
        Option<string?> images = new("--images") { Description = "Images as preprocess writes them, n x 3 x S x S, f4 or f8.", HelpName = "x.npy" };
        Option<string?> texts = new("--texts") { Description = "Token ids, n x T, i8, i4 or u1, T at most the context.", HelpName = "ids.npy" };
        Option<string?> imageFolder = new("--image-folder") { Description = "In bulk: all images below a folder.", HelpName = "DIR" };
        Option<string?> captionFile = new("--caption-file") { Description = "In bulk: the lines of a text file.", HelpName = "FILE" };
        Option<string?> dataImages = new("--data-images") { Description = "In bulk: the images of a data set, as train reads it.", HelpName = "DATA" };
        Option<string?> dataCaptions = new("--data-captions") { Description = "In bulk: the captions of a data set.", HelpName = "DATA" };
        Option<int> batch = new("--batch") { Description = "Rows encoded at once; does not change the result.", HelpName = "N", DefaultValueFactory = _ => DefaultBatch };
        Option<int> maxBadImages = new("--max-bad-images") { Description = "In bulk: images that may be missing or damaged before the run fails.", HelpName = "N", DefaultValueFactory = _ => 100 };
        Option<string> output = new("--out")
        {
            Description = "Of a .npy: receives the features as the encoder gives them, n x e, f4, not normalised. In bulk: a folder of unit features and their names, which a second call completes.",
            HelpName = "PATH", Required = true,
        };
        Command command = new("encode", "Encode images or texts with a checkpoint, from a .npy or in bulk.") { images, texts, imageFolder, captionFile, dataImages, dataCaptions, batch, maxBadImages, output };
        options.AddTo(command);
        command.Set((parse, cancel) =>
        {
            Option<string?>[] inputs = [images, texts, imageFolder, captionFile, dataImages, dataCaptions];
            Option<string?>[] given = [.. inputs.Where(option => parse.GetValue(option) is not null)];
            if (given is not [{ } input])
            {
                throw new UserError($"give either --images or --texts, so that one file of features comes out, or one of {string.Join(", ", inputs[2..].Select(option => option.Name))} (given are {given.Length})");
            }

            if (parse.GetValue(batch) < 1)
            {
                throw new UserError($"--batch {parse.GetValue(batch)}: must be at least 1");
            }

            string path = parse.GetValue(input)!;
            if (input == images || input == texts)
            {
                using ClipModel model = options.LoadModel(parse);
                float[] features = input == images
                    ? Encode(path, ReadImages(path), model.EncodeImage, model.Config.EmbedDim, parse.GetValue(batch), cancel)
                    : Encode(path, ReadIds(path), model.EncodeText, model.Config.EmbedDim, parse.GetValue(batch), cancel);
                NpyFile.Write<float>(parse.GetRequiredValue(output), features, features.Length / model.Config.EmbedDim, model.Config.EmbedDim);
                return;
            }

            EncodingSource source = input == imageFolder ? EncodingSource.ImagesBelow(path)
                : input == captionFile ? EncodingSource.LinesOf(path)
                : input == dataImages ? EncodingSource.ImagesOf(path)
                : EncodingSource.CaptionsOf(path);
            EncodeInBulk(parse, options, source, parse.GetRequiredValue(output), parse.GetValue(batch), parse.GetValue(maxBadImages), cancel);
        });
        return command;
    }

    private static void EncodeInBulk(ParseResult parse, ModelOptions options, EncodingSource source, string folder, int batch, int maxBadImages, CancellationToken cancel)
    {
        using ClipModel model = options.LoadModel(parse);
        ITokenizer? tokenizer = source.Kind == EncodingSource.Text ? options.TokenizerOf(parse, model) : null;
        BulkEncoder encoder = new(model, tokenizer, source, folder) { BatchSize = batch, MaxBadImages = maxBadImages };
        TextWriter messages = parse.InvocationConfiguration.Error;
        (int rows, int broken) result;
        using (Progress progress = new(source.Kind + "s", source.Names.Count, messages))
        {
            result = encoder.Run(options.Checkpoint(parse), progress, cancel);
        }

        messages.WriteLine($"{folder}: features of {result.rows} {source.Kind}s{(result.broken > 0 ? $"; {result.broken} could not be read, named with the reason in {FeatureFolder.IndexFile}" : "")}");
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
                encode(part).cpu().data<float>().CopyTo(features, start * width);
            }
            catch (ArgumentException failure)
            {
                throw new UserError($"{path}: {failure.Message}", failure);
            }
        }

        return features;
    }
}
