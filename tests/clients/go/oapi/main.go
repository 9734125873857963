// Starts a sleep and reads it, with the client that oapi-codegen makes.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"clients/oapiclient"
)

func main() {
	token := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("SLEEP_TOKEN"))
		return nil
	}
	client, err := oapiclient.NewClientWithResponses(os.Getenv("SLEEP_URL"), oapiclient.WithRequestEditorFn(token))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	body := oapiclient.SleepBody{TargetState: "deep", TtlSeconds: 60}
	started, err := client.StartSleepWithResponse(ctx, nil, body)
	if err != nil || started.JSON200 == nil {
		log.Fatal(err, started)
	}
	found, err := client.GetSleepWithResponse(ctx, started.JSON200.OperationId, nil)
	if err != nil || found.JSON200 == nil || found.JSON200.Status != "running" {
		log.Fatal(err, found)
	}
	if *found.JSON200.ExpiresAt-found.JSON200.CreatedAt != 60_000 || found.JSON200.Code != nil {
		log.Fatal(string(found.Body))
	}
	mode, err := client.GetSleepModeWithResponse(ctx, nil)
	if err != nil || mode.JSON200 == nil || mode.JSON200.State != "deep" || mode.JSON200.Cause == nil {
		log.Fatal(err, mode)
	}
	refused, err := client.GetSleepWithResponse(ctx, "nobody", nil)
	if err != nil || refused.ApplicationproblemJSON404.Code != "unknown_operation" {
		log.Fatal(err, refused)
	}
	fmt.Println("oapi-codegen", found.JSON200.OperationId)
}
