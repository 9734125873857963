// Starts a sleep and reads it, with the client that openapi-generator makes.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"clients/sleepclient"
)

func main() {
	configuration := sleepclient.NewConfiguration()
	configuration.Servers = sleepclient.ServerConfigurations{{URL: os.Getenv("SLEEP_URL")}}
	client := sleepclient.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), sleepclient.ContextAccessToken, os.Getenv("SLEEP_TOKEN"))
	body := *sleepclient.NewSleepBody("deep", 60)
	started, _, err := client.OperationsAPI.StartSleep(ctx).SleepBody(body).Execute()
	if err != nil {
		log.Fatal(err)
	}
	found, _, err := client.OperationsAPI.GetSleep(ctx, started.OperationId).Execute()
	if err != nil || found.Status != "running" || *found.ExpiresAt.Get()-found.CreatedAt != 60_000 {
		log.Fatal(err, found)
	}
	mode, _, err := client.ModeAPI.GetSleepMode(ctx).Execute()
	if err != nil || mode.State != "deep" || mode.Cause.Get() == nil {
		log.Fatal(err, mode)
	}
	if _, answer, err := client.OperationsAPI.GetSleep(ctx, "nobody").Execute(); err == nil || answer.StatusCode != 404 {
		log.Fatal(err, answer)
	}
	fmt.Println("go", found.OperationId)
}
